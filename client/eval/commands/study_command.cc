#include "client/eval/commands/study_command.h"

#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/eval/commands/child_process.h"

namespace precis::eval {
namespace {

std::filesystem::path ProgramFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

// Beside this program as it is built or installed, else on the PATH.
std::string FindServer() {
  std::error_code error;
  for (const auto& path : {ProgramFolder() / "../server/precis-server", ProgramFolder() / "precis-server"}) {
    if (std::filesystem::exists(path, error)) return path.lexically_normal().string();
  }
  return "precis-server";
}

// On free ports; returns once it is ready, with its address.
absl::StatusOr<std::unique_ptr<ChildProcess>> StartServer(const StudyCommand& command, std::string* address) {
  std::vector<std::string> arguments = {command.server_binary.empty() ? FindServer() : command.server_binary, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0",
                                        "--log-level=warning"};
  for (const std::string& model : command.models) arguments.push_back("--model=" + model);
  arguments.insert(arguments.end(), command.server_flags.begin(), command.server_flags.end());
  auto server = ChildProcess::Start(arguments);
  if (!server.ok()) return server.status();
  constexpr char kListening[] = "listening on ";
  for (std::string line; (*server)->ReadLine(&line);) {
    if (absl::StartsWith(line, kListening)) *address = line.substr(sizeof(kListening) - 1, line.find(' ', sizeof(kListening) - 1) - (sizeof(kListening) - 1));
    if (line == "ready" && !address->empty()) return server;
  }
  return absl::FailedPreconditionError(absl::StrCat("the server ended (exit code ", (*server)->Wait(), ") before it was ready: see what it wrote above"));
}

int LogToWandb(const StudyCommand& command) {
  const std::string script = (ProgramFolder() / "log_wandb.py").string();
  auto logger = ChildProcess::Start({command.python, script, command.run.options.out, "--project=" + command.wandb_project, "--mode=" + command.wandb});
  if (!logger.ok()) return cli::ReportError(logger.status());
  for (std::string line; (*logger)->ReadLine(&line);) std::cout << line << std::endl;
  return (*logger)->Wait() == 0 ? cli::kExitOk : cli::kExitFailed;
}

}  // namespace

void StudyCommand::AddTo(CLI::App* app) {
  run.backends = "standard,flash,flash_alibi";
  run.lengths = "32,64,128,256,512";
  run.options.data.sample = 500;
  run.AddTo(app);
  app->remove_option(app->get_option("--model"));  // here it is the server's; requests go to the first that serves the backend
  const std::string group = "Study";
  app->add_option("--model", models, "NAME=FOLDER: start a server with this model (give it twice to join a checkpoint with learned positions and one with ALiBi)")->group(group);
  app->add_option("--server-binary", server_binary, "The server to start [precis-server beside this program, or on the PATH]")->group(group);
  app->add_option("--server-flag", server_flags, "A further flag for that server, such as --server-flag=--weights=int8")->group(group)->allow_extra_args(false);
  app->add_option("--wandb", wandb, "Log the study to Weights & Biases: none, offline (`wandb sync` sends it later) or online")
      ->check(CLI::IsMember({"none", "offline", "online"}))->capture_default_str()->group(group);
  app->add_option("--wandb-project", wandb_project, "Its project there")->capture_default_str()->group(group);
  app->add_option("--python", python, "A Python that has the package wandb")->capture_default_str()->group(group);
  report.AddTo(app);
  app->footer("Examples:\n"
              "  precis-eval study --data=test.parquet --out=study --model=news=deploy/models/precis-small-learned --model=news=deploy/models/precis-small-alibi\n"
              "  precis-eval study --data=test.jsonl.xz --out=study --server=127.0.0.1:50051 --wandb=offline\n"
              "  precis-eval study --data=test.parquet --out=gpt2 --model=gpt2=models/gpt2 --backends=standard,flash    # published GPT-2 weights\n\n"
              "What `run` and `report` do, one after the other, with a server of its own when --model is given.");
}

int StudyCommand::Run() {
  std::unique_ptr<ChildProcess> server;
  if (!models.empty()) {
    std::string address;
    auto started = StartServer(*this, &address);
    if (!started.ok()) return cli::ReportError(started.status());
    server = *std::move(started);
    run.connection.server = address;
  }
  const auto options = run.ToOptions();
  if (!options.ok()) {
    cli::ReportError(options.status());
    return cli::kExitUsage;
  }
  const int code = RunAndReport(*options);
  if (code != cli::kExitOk) return code;
  const absl::Status status = WriteReport(options->out, report);
  if (!status.ok()) {
    cli::ReportError(status);
    return cli::kExitInput;
  }
  return wandb == "none" ? cli::kExitOk : LogToWandb(*this);
}

}  // namespace precis::eval
