#include <grpc/support/log.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <utility>
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

// Waits for SIGTERM or SIGINT; SIGHUP opens the log file and reads the experiments again.
int WaitForStop(const sigset_t& set, Logger* log, Server* server) {
  while (true) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (signal != SIGHUP) return signal;
    log->Reopen();
    log->Log(LogLevel::kInfo, "log file opened again");
    server->ReloadExperiments();
  }
}

// The models are loaded by a thread of their own, so that signals are heard meanwhile.
class Loader {
 public:
  Loader(Server* server, Server::EngineFactory factory) : thread_([this, server, factory = std::move(factory)] {
    status_ = server->Load(factory);
    if (status_.ok()) {
      std::printf("ready\n");
      std::fflush(stdout);
    }
    done_ = true;
    if (!status_.ok()) kill(getpid(), SIGTERM);
  }) {}
  bool done() const { return done_; }
  absl::Status Join() {
    thread_.join();
    return status_;
  }

 private:
  absl::Status status_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// The first stop signal drains, the next one ends the process at once. While models load there is nothing to drain.
absl::Status ServeUntilSignal(const sigset_t& set, Logger* log, Server* server, Loader* loader) {
  const int first = WaitForStop(set, log, server);
  if (!loader->done()) {
    log->Flush(absl::Milliseconds(200));
    _exit(0);
  }
  std::thread([] {  // outlives the log, so it does without
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    int second = 0;
    if (sigwait(&stop, &second) == 0) _exit(128 + second);
  }).detach();
  if (absl::Status s = loader->Join(); !s.ok()) {
    log->Log(LogLevel::kError, "loading failed", LogFields().Add("error", ToStd(s.message())));
    return s;
  }
  log->Log(LogLevel::kInfo, "stop signal", LogFields().Add("signal", first));
  server->Drain();
  return absl::OkStatus();
}

std::atomic<Logger*> grpc_log{nullptr};

// gRPC's own messages (failed handshakes, broken connections) go the way of ours.
void LogFromGrpc(gpr_log_func_args* arguments) {
  Logger* const log = grpc_log.load();
  if (log == nullptr) return;
  const LogLevel level = arguments->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarning : LogLevel::kDebug;
  const std::string source = StrCat(arguments->file, ":", arguments->line);
  log->Log(level, "grpc", LogFields().Add("source", source).Add("text", arguments->message));
}

// While it lives.
class GrpcLogRoute {
 public:
  explicit GrpcLogRoute(Logger* log) {
    grpc_log = log;
    gpr_set_log_function(LogFromGrpc);
  }
  ~GrpcLogRoute() {
    gpr_set_log_function(nullptr);
    grpc_log = nullptr;
  }
};

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
  const GrpcLogRoute route(log->get());
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

  Loader loader(server->get(), [&] { return CreateEngine(options, metrics.get()); });
  const absl::Status status = ServeUntilSignal(signals, log->get(), server->get(), &loader);
  return status.ok() ? 0 : Fail(status);
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
