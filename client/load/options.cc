#include "client/load/options.h"

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"

namespace precis::load {
namespace {

constexpr char kFooter[] =
    "Open loop (--rate): arrivals are a Poisson process, and latency counts from the moment that a request was meant\n"
    "to arrive, whether or not earlier ones have been answered. Closed loop (--concurrency): a new request starts when\n"
    "one ends. Nothing is retried. Ctrl-C ends early and still reports.\n\n"
    "Examples:\n"
    "  precis-load --rate=5 --duration=30s --backends=flash:2,standard:1 --svg=latency.svg\n"
    "  precis-load --rate=1,2,5,10 --duration=20s --json=sweep.json --svg=sweep.svg articles/*.txt\n"
    "  precis-load --concurrency=16 --duration=10s --synthetic=100-800 --max-new-tokens=64\n\n";

}  // namespace

void Options::AddTo(CLI::App* app) {
  const std::string group = "Load";
  app->add_option("FILE", files, "Documents, sent in turn; without any, synthetic ones");
  app->add_option("--rate", rates, "Arrivals per second; several, parted by commas, run one after the other")
      ->delimiter(',')
      ->check(CLI::Range(0.001, 100000.0))
      ->group(group);
  app->add_option("--concurrency", concurrency, "Closed loop with so many requests at a time")
      ->check(CLI::Range(1, 10000))
      ->group(group);
  app->add_option("--duration", duration, "For which requests arrive (at each rate)")
      ->check(cli::kPositiveDuration)
      ->capture_default_str()
      ->group(group);
  app->add_option("--backends", backends, "Mix of backends with weights, such as flash:2,standard:1")->group(group);
  app->add_option("--synthetic", synthetic, "Words of each synthetic document: N or LOW-HIGH; each is different")
      ->capture_default_str()
      ->group(group);
  app->add_option("--max-requests", max_requests, "Most requests (at each rate)")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--max-in-flight", max_in_flight, "Open loop: above it a request is not sent but counted as dropped")
      ->check(CLI::Range(1, 20000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--warmup", warmup, "Requests of each backend before the clock starts")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--load-seed", load_seed, "Of the arrivals, the mix and the synthetic documents")
      ->capture_default_str()
      ->group(group);
  app->add_option("--json", json_file, "Write the results to this file in JSON")->group(group);
  app->add_option("--svg", svg_file, "Draw the latencies into this file")->group(group);
  app->add_flag("--quiet", quiet, "No progress")->group(group);
  request.AddTo(app);
  connection.AddTo(app);
  app->footer(absl::StrCat(kFooter, cli::kExitCodeHelp,
                           "precis-load ends with 0 when every request was answered well, else with the code of the "
                           "most frequent error.\n"));
}

absl::Status Options::Check() const {
  if (rates.empty() == (concurrency == 0)) {
    return absl::InvalidArgumentError("give either --rate (open loop) or --concurrency (closed loop)");
  }
  if (!backends.empty() && !request.backend.empty()) {
    return absl::InvalidArgumentError("give --backend (one) or --backends (a mix), not both");
  }
  return absl::OkStatus();
}

absl::Duration Options::Duration() const {
  absl::Duration result = absl::Seconds(10);
  absl::ParseDuration(duration, &result);
  return result;
}

}  // namespace precis::load
