#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>

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
  precis::runtime::Trainer trainer(*std::move(options));
  const absl::Status status = trainer.Run(stop_requested);
  return status.ok() ? 0 : Fail(status);
}
