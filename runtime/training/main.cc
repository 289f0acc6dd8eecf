#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "runtime/training/metrics_port.h"
#include "runtime/training/options.h"
#include "runtime/training/trainer.h"

namespace {

std::atomic<bool> stop_requested = false;

void RequestStop(int) { stop_requested = true; }

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "precis-finetune: %s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kCancelled ? 130 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string help;
  absl::StatusOr<precis::runtime::TrainOptions> options = precis::runtime::ParseTrainOptions(argc, argv, &help);
  if (!options.ok()) {
    std::fprintf(stderr, "precis-finetune: %s\n", std::string(options.status().message()).c_str());
    return 2;
  }
  if (!help.empty()) {
    std::fputs(help.c_str(), stdout);
    return 0;
  }
  std::signal(SIGINT, RequestStop);
  std::signal(SIGTERM, RequestStop);
  std::signal(SIGXFSZ, SIG_IGN);  // a file limit is then an error of write, like a full disk
  std::unique_ptr<precis::runtime::MetricsPort> port;
  if (!options->metrics_listen.empty()) {
    auto started = precis::runtime::MetricsPort::Start(options->metrics_listen, options->out + "/metrics.prom");
    if (!started.ok()) return Fail(started.status());
    port = *std::move(started);
    std::fprintf(stderr, "metrics: %s\n", port->url().c_str());
  }
  precis::runtime::Trainer trainer(*std::move(options));
  const absl::Status status = trainer.Run(stop_requested);
  return status.ok() ? 0 : Fail(status);
}
