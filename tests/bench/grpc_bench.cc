// precis-grpc-bench: what gRPC adds to a unary call. One process: the whole server on a port of this machine and the C++ client, over one engine. Calls to
// the engine itself and calls through client and server take turns with the same request, so that drift of the machine falls on both.
//
// Prints the percentiles of both, those of an empty call (a health check: gRPC's own part), and the difference of the medians, as one JSON line. The target
// is 0.3 ms.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "client/summarizer_client.h"
#include "kernels/device.h"
#include "nlohmann/json.hpp"
#include "server/process.h"
#include "tests/bench/must.h"

namespace {

using precis::bench::Check;
using precis::bench::Must;

using Clock = std::chrono::steady_clock;

struct Flags {
  std::string model;
  int calls = 2000, threads = 2, new_tokens = 1, words = 40;
};

[[noreturn]] void Usage(int status) {
  std::cerr << "usage: precis-grpc-bench --model=DIR [--calls=2000] [--threads=2] [--words=40] [--new-tokens=1]\n"
               "Example:\n"
               "  precis-grpc-bench --model=deploy/models/precis-small-learned\n";
  std::exit(status);
}

Flags ParseFlags(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::vector<std::string> parts = absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    const std::string value = parts.size() > 1 ? parts[1] : "";
    if (parts[0] == "--model") flags.model = value;
    else if (parts[0] == "--calls") flags.calls = std::atoi(value.c_str());
    else if (parts[0] == "--threads") flags.threads = std::atoi(value.c_str());
    else if (parts[0] == "--words") flags.words = std::atoi(value.c_str());
    else if (parts[0] == "--new-tokens") flags.new_tokens = std::atoi(value.c_str());
    else Usage(parts[0] == "--help" ? 0 : 2);
  }
  if (flags.model.empty() || flags.calls < 1 || flags.threads < 1 || flags.words < 1 || flags.new_tokens < 1) Usage(2);
  return flags;
}

std::string Document(int words) {
  std::string text;
  for (int i = 0; i < words; ++i) text += i % 3 == 0 ? "The " : i % 3 == 1 ? "river " : "rose. ";
  return text;
}

double CallEngine(precis::runtime::Engine* engine, const Flags& flags, const std::string& document) {
  const auto begin = Clock::now();
  precis::runtime::Request request;
  request.document = document;
  request.options.max_new_tokens = request.options.min_new_tokens = flags.new_tokens;
  absl::Notification done;
  absl::Status status;
  Must(engine->Submit(std::move(request), {nullptr, [&](absl::StatusOr<precis::runtime::Result> result) {
                                             status = result.status();
                                             done.Notify();
                                           }}));
  done.WaitForNotification();
  Check(status);
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double CallServer(precis::client::SummarizerClient* client, const Flags& flags, const std::string& document) {
  const auto begin = Clock::now();
  precis::v1::SummarizeRequest request;
  request.set_document(document);
  request.mutable_options()->set_max_new_tokens(flags.new_tokens);
  request.mutable_options()->set_min_new_tokens(flags.new_tokens);
  Must(client->Summarize(request));
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// gRPC's own part: a call that the server answers at once.
double CallHealth(precis::client::SummarizerClient* client) {
  const auto begin = Clock::now();
  Must(client->CheckHealth());
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

nlohmann::json Percentiles(std::vector<double>* times) {
  std::sort(times->begin(), times->end());
  auto at = [&](double share) { return (*times)[static_cast<size_t>(share * (times->size() - 1))]; };
  return {{"p10", at(0.1)}, {"p50", at(0.5)}, {"p90", at(0.9)}, {"p99", at(0.99)}};
}

}  // namespace

int main(int argc, char** argv) {
  const Flags flags = ParseFlags(argc, argv);
  precis::server::Configuration configuration;
  configuration.options.listen = "127.0.0.1:0";
  configuration.options.metrics_listen = "off";
  configuration.options.log_file = "/dev/null";
  configuration.options.models = {{"bench", flags.model}};
  configuration.options.engine.threads = flags.threads;
  const auto metrics = precis::server::Metrics::Create({"bench", "bench", "bench", "bench"});
  auto log = Must(precis::server::Logger::Open({precis::server::LogFormat::kJson, precis::server::LogLevel::kInfo, "/dev/null", 1 << 20}));
  auto server = Must(precis::server::Server::Start(configuration, metrics.get(), log.get()));
  precis::runtime::Engine* engine = nullptr;
  Check(server->Load([&]() -> absl::StatusOr<std::unique_ptr<precis::runtime::Engine>> {
    auto created = Must(precis::server::CreateEngine(configuration.options, metrics.get()));
    engine = created.get();
    return created;
  }));
  auto client = Must(precis::client::SummarizerClient::Create({.address = server->address()}));
  const std::string document = Document(flags.words);
  std::vector<double> direct, remote, empty;
  for (int i = 0; i < flags.calls + 50; ++i) {
    const double of_engine = CallEngine(engine, flags, document);
    const double of_server = CallServer(client.get(), flags, document);
    const double of_health = CallHealth(client.get());
    if (i < 50) continue;  // warm-up
    direct.push_back(of_engine);
    remote.push_back(of_server);
    empty.push_back(of_health);
  }
  nlohmann::json row = {{"calls", flags.calls}, {"engine_ms", Percentiles(&direct)}, {"grpc_ms", Percentiles(&remote)},
                        {"empty_call_ms", Percentiles(&empty)}};
  row["added_ms"] = row["grpc_ms"]["p50"].get<double>() - row["engine_ms"]["p50"].get<double>();
  std::cout << row.dump() << std::endl;
  client.reset();
  server->Drain();
}
