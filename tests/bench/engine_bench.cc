// precis-engine-bench: the whole engine in this process, at the points that the peers are measured at (tests/bench/README.md).
//
//   P1_512, P1_1000  prefill tokens/s of one request (one new token)
//   P2               decode ms a token at batch 1, after 512 tokens: (65 new) - (1 new), over 64
//   P3_8, P3_16      so many requests of 512 + 64 tokens at once, requests/s
//
// One JSON line a point on standard output. Documents are random words of the model's own vocabulary, cut to the exact number of tokens.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/blocking_counter.h"
#include "nlohmann/json.hpp"
#include "runtime/engine.h"
#include "tests/bench/must.h"

namespace {

using precis::bench::Must;
using precis::runtime::Catalog;
using precis::runtime::Engine;
using precis::runtime::EngineOptions;
using precis::runtime::LoadOptions;
using precis::runtime::Request;
using precis::runtime::Result;
using precis::runtime::Tokenizer;
using Clock = std::chrono::steady_clock;

struct Flags {
  std::string model, weights = "auto", kv = "auto", backend, isa = "auto";
  std::vector<std::string> points = {"P1_512", "P1_1000", "P2", "P3_8", "P3_16"};
  int threads = 2, runs = 5;
  double seconds = 20;
};

[[noreturn]] void Usage(int status) {
  std::cerr << "usage: precis-engine-bench --model=DIR [--weights=auto|f32|bf16|int8] [--kv=auto|f32|bf16] [--backend=NAME] [--isa=auto|portable|avx2|avx512]\n"
               "         [--threads=2] [--runs=5] [--seconds=20] [--points=P1_512,P1_1000,P2,P3_8,P3_16]\n"
               "A point is measured --runs times, but no further run begins after --seconds. Any P1_N and P3_N work. Example:\n"
               "  precis-engine-bench --model=/tmp/gpt2-124m --weights=bf16 --points=P1_512,P2\n";
  std::exit(status);
}

Flags ParseFlags(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::vector<std::string> parts = absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    const std::string value = parts.size() > 1 ? parts[1] : "";
    if (parts[0] == "--model") flags.model = value;
    else if (parts[0] == "--weights") flags.weights = value;
    else if (parts[0] == "--kv") flags.kv = value;
    else if (parts[0] == "--backend") flags.backend = value;
    else if (parts[0] == "--isa") flags.isa = value;
    else if (parts[0] == "--threads") flags.threads = std::atoi(value.c_str());
    else if (parts[0] == "--runs") flags.runs = std::atoi(value.c_str());
    else if (parts[0] == "--seconds") flags.seconds = std::atof(value.c_str());
    else if (parts[0] == "--points") flags.points = absl::StrSplit(value, ',');
    else Usage(parts[0] == "--help" ? 0 : 2);
  }
  if (flags.model.empty() || flags.threads < 1 || flags.runs < 1) Usage(2);
  return flags;
}

// Private bytes, and file pages, resident now.
struct Resident {
  int64_t total = 0, peak = 0;
};

Resident ReadResident() {
  std::ifstream status("/proc/self/status");
  Resident resident;
  for (std::string line; std::getline(status, line);) {
    long long kilobytes = 0;
    if (std::sscanf(line.c_str(), "VmRSS: %lld kB", &kilobytes) == 1) resident.total = kilobytes * 1024;
    if (std::sscanf(line.c_str(), "VmHWM: %lld kB", &kilobytes) == 1) resident.peak = kilobytes * 1024;
  }
  return resident;
}

class Bench {
 public:
  explicit Bench(const Flags& flags) : flags_(flags), random_(7) {
    LoadOptions load;
    load.threads = flags.threads;
    load.isa = flags.isa == "auto" ? precis::kernels::BestCpuIsa() : Must(precis::kernels::ParseCpuIsa(flags.isa));
    load.weights_auto = flags.weights == "auto";
    if (!load.weights_auto) load.weights = Must(precis::kernels::ParseDType(flags.weights));
    if (flags.kv != "auto") load.kv_cache = Must(precis::kernels::ParseDType(flags.kv));
    const auto begin = Clock::now();
    auto catalog = Must(Catalog::Load({{"bench", flags.model}}, load));
    tokenizer_ = catalog->all_checkpoints()[0]->tokenizer;
    const auto* checkpoint = catalog->all_checkpoints()[0];
    template_tokens_ = tokenizer_->Encode(checkpoint->prompt_prefix + checkpoint->prompt_suffix).size();
    peer_ = absl::StrCat("precis-", std::string(precis::kernels::DTypeName(checkpoint->runner->weights_dtype())),
                         flags.kv == "auto" ? "" : "-kv-", flags.kv == "auto" ? "" : flags.kv, flags.backend.empty() ? "" : "-", flags.backend);
    EngineOptions options;
    options.threads = flags.threads;
    options.prefix_cache = false;  // every run does its whole work
    engine_ = Must(Engine::Create(std::move(catalog), options, nullptr));
    load_seconds_ = Seconds(begin);
  }

  void Run(const std::string& point) {
    int number = 0;
    if (std::sscanf(point.c_str(), "P1_%d", &number) == 1) {
      Emit(point, Times(1, [&] { Generate(1, number, 1); }), {{"tokens", number}});
    } else if (point == "P2") {
      Emit(point, DecodeTimes(), {{"tokens", 64}});
    } else if (std::sscanf(point.c_str(), "P3_%d", &number) == 1) {
      Emit(point, Times(0, [&] { Generate(number, 512, 64); }), {{"requests", number}});
    } else {
      Usage(2);
    }
  }

 private:
  static double Seconds(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

  template <typename Body>
  std::vector<double> Times(int warm, Body body) {
    for (int i = 0; i < warm; ++i) body();
    std::vector<double> times;
    const auto start = Clock::now();
    while (times.empty() || (static_cast<int>(times.size()) < flags_.runs && Seconds(start) < flags_.seconds)) {
      const auto begin = Clock::now();
      body();
      times.push_back(Seconds(begin));
    }
    return times;
  }

  std::vector<double> DecodeTimes() {
    std::vector<double> first = Times(1, [&] { Generate(1, 512, 1); });
    std::sort(first.begin(), first.end());
    std::vector<double> times = Times(1, [&] { Generate(1, 512, 65); });
    for (double& time : times) time -= first[first.size() / 2];
    return times;
  }

  // `count` requests at once; each prompt has exactly `prompt_tokens` tokens and gets exactly `new_tokens`.
  void Generate(int count, int prompt_tokens, int new_tokens) {
    absl::BlockingCounter done(count);
    for (int i = 0; i < count; ++i) {
      Request request;
      request.document = Document(prompt_tokens - template_tokens_);
      request.attention_backend = flags_.backend;
      request.options.max_new_tokens = request.options.min_new_tokens = new_tokens;
      auto finished = [&done, prompt_tokens, new_tokens](absl::StatusOr<Result> result) {
        const Result value = Must(std::move(result));
        if (value.accounting.prompt_tokens != prompt_tokens || value.accounting.new_tokens != new_tokens) {
          std::cerr << "wrong counts: " << value.accounting.prompt_tokens << " + " << value.accounting.new_tokens << "\n";
          std::exit(1);
        }
        done.DecrementCount();
      };
      Must(engine_->Submit(std::move(request), {nullptr, finished}));
    }
    done.Wait();
  }

  // Random text of exactly `tokens` tokens: words while many are missing, then single characters.
  std::string Document(int tokens) {
    std::string text;
    int missing = tokens;
    while (missing > 0) {
      std::string next = text;
      if (missing < 16) next += "abcdefghijklmnopqrstuvwxyz .,;!?"[random_() % 32];
      for (int words = missing / 16; words > 0; --words) {
        next += ' ';
        for (int letters = 1 + random_() % 7; letters > 0; --letters) next += static_cast<char>('a' + random_() % 26);
      }
      const int count = tokenizer_->Encode(next).size();
      if (count <= tokens) {
        text = std::move(next);
        missing = tokens - count;
      }
    }
    return text;
  }

  void Emit(const std::string& point, std::vector<double> times, nlohmann::json extra) {
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    nlohmann::json row = {{"peer", peer_}, {"point", point}, {"threads", flags_.threads}, {"n", times.size()},
                          {"median_s", median}, {"min_s", times.front()}, {"max_s", times.back()},
                          {"peak_rss_mb", ReadResident().peak / 1048576.0}, {"load_s", load_seconds_}};
    row.update(extra);
    if (extra.contains("tokens")) {
      row["tok_s"] = extra["tokens"].get<double>() / median;
      row["ms_per_tok"] = 1000 * median / extra["tokens"].get<double>();
    }
    if (extra.contains("requests")) row["req_s"] = extra["requests"].get<double>() / median;
    std::cout << row.dump() << std::endl;
  }

  const Flags flags_;
  std::mt19937 random_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  int template_tokens_ = 0;
  std::string peer_;
  double load_seconds_ = 0;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

int main(int argc, char** argv) {
  const Flags flags = ParseFlags(argc, argv);
  Bench bench(flags);
  for (const std::string& point : flags.points) bench.Run(point);
}
