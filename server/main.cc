#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "kernels/device.h"
#include "server/build_info.h"
#include "server/process.h"
#include "server/text.h"

extern char** environ;

namespace precis::server {
namespace {

std::map<std::string, std::string> Environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

// Blocks the signals that the server handles, in this thread and all that it starts.
sigset_t BlockSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return set;
}

// Waits for SIGTERM or SIGINT; SIGHUP opens the log file again.
int WaitForStop(const sigset_t& set, Logger* log) {
  while (true) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (signal != SIGHUP) return signal;
    log->Reopen();
    log->Log(LogLevel::kInfo, "log file opened again");
  }
}

// The first stop signal drains, the next one ends the process at once, also while models load.
void HandleSignals(const sigset_t& set, Logger* log, Server* server, std::thread* loader) {
  const int first = WaitForStop(set, log);
  std::thread([set, log] {
    const int second = WaitForStop(set, log);
    log->Log(LogLevel::kWarning, "second signal: stopping at once");
    log->Flush(absl::Milliseconds(200));
    _exit(128 + second);
  }).detach();
  log->Log(LogLevel::kInfo, "stop signal", LogFields().Add("signal", first));
  if (loader->joinable()) loader->join();
  server->Drain();
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "precis-server: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ? 2 : 1;
}

int Serve(const Configuration& configuration) {
  const sigset_t signals = BlockSignals();
  const ServerOptions& options = configuration.options;
  absl::StatusOr<std::unique_ptr<Logger>> log =
      Logger::Open({options.log_format, options.log_level, options.log_file, int64_t{8} << 20});
  if (!log.ok()) return Fail(log.status());
  const kernels::CpuIsa isa = options.cpu_isa == "auto"
                                  ? kernels::BestCpuIsa()
                                  : kernels::ParseCpuIsa(options.cpu_isa).value_or(kernels::BestCpuIsa());
  const std::unique_ptr<Metrics> metrics =
      Metrics::Create({std::string(Version()), std::string(Commit()), std::string(Compiler()),
                       std::string(kernels::CpuIsaName(isa))});
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(configuration, metrics.get(), log->get());
  if (!server.ok()) return Fail(server.status());
  std::printf("listening on %s\n", (*server)->address().c_str());
  if (!(*server)->metrics_address().empty()) std::printf("metrics on %s\n", (*server)->metrics_address().c_str());
  std::fflush(stdout);

  absl::Status loaded;
  std::thread loader([&] {
    loaded = (*server)->Load([&] { return CreateEngine(options, metrics.get()); });
    if (loaded.ok()) {
      std::printf("ready\n");
      std::fflush(stdout);
    } else {
      kill(getpid(), SIGTERM);
    }
  });
  HandleSignals(signals, log->get(), server->get(), &loader);
  if (!loaded.ok()) return Fail(loaded);
  return 0;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  absl::StatusOr<Configuration> configuration = LoadConfiguration(arguments, Environment());
  if (!configuration.ok()) return Fail(configuration.status());
  if (configuration->action == Configuration::Action::kHelp) {
    std::fputs(HelpText().c_str(), stdout);
    return 0;
  }
  if (configuration->action == Configuration::Action::kVersion) {
    std::printf("precis-server %s (%s, %s)\n", std::string(Version()).c_str(), std::string(Commit()).c_str(),
                std::string(Compiler()).c_str());
    return 0;
  }
  if (absl::Status s = ValidateConfiguration(*configuration); !s.ok()) return Fail(s);
  if (configuration->action == Configuration::Action::kDryRun) {
    std::fputs(DumpConfiguration(*configuration).c_str(), stdout);
    return 0;
  }
  return Serve(*configuration);
}

}  // namespace
}  // namespace precis::server

int main(int argc, char** argv) { return precis::server::Main(argc, argv); }
