// `precis-load`: sends load to a Precis server and reports latencies.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/exit_code.h"
#include "client/cli/files.h"
#include "client/load/options.h"
#include "client/load/report.h"
#include "client/load/runner.h"
#include "client/load/svg.h"

namespace precis::load {
namespace {

std::atomic<bool> interrupted = false;

extern "C" void OnSignal(int) {
  if (interrupted.exchange(true)) std::_Exit(130);  // the second one: at once
}

int CodeOfSamples(const std::vector<Stage>& stages) {
  std::map<std::string, int64_t> errors;
  for (const Stage& stage : stages) {
    for (const auto& [code, count] : stage.All().errors) errors[code] += count;
  }
  const auto most = std::max_element(errors.begin(), errors.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == errors.end()) return cli::kExitOk;
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "");
    if (absl::StatusCodeToString(status.code()) == most->first) return cli::ExitCodeOf(status);
  }
  return cli::kExitFailed;
}

absl::Status WriteReports(const Options& options, const std::vector<Stage>& stages) {
  absl::Status status;
  if (!options.json_file.empty()) {
    status.Update(cli::WriteFile(options.json_file, cli::Dump(ReportJson(options, stages), true) + "\n"));
  }
  if (!options.svg_file.empty()) {
    const std::string title = absl::StrFormat("%s, %s a stage, deadline %s", options.connection.server,
                                              options.duration, options.connection.deadline);
    status.Update(cli::WriteFile(options.svg_file, DrawSvg(stages, title)));
  }
  return status;
}

int InputError(const absl::Status& status) {
  cli::ReportError(status);
  return absl::IsNotFound(status) ? cli::kExitInput : cli::kExitUsage;
}

int Run(const Options& options) {
  absl::Status status = options.Check();
  if (!status.ok()) return InputError(status);
  auto connection = options.connection.ToOptions();
  if (!connection.ok()) return InputError(connection.status());
  auto client = client::SummarizerClient::Create(*connection);
  if (!client.ok()) return InputError(client.status());
  auto workload = Workload::Create(options);
  if (!workload.ok()) return InputError(workload.status());
  Runner runner(options, &*workload, client->get(), &interrupted);
  status = runner.WarmUp();
  if (!status.ok()) return cli::ReportError(status);
  std::vector<Stage> stages;
  for (double rate : options.rates) {
    if (!interrupted) stages.push_back(runner.RunOpenLoop(rate));
  }
  if (options.concurrency > 0) stages.push_back(runner.RunClosedLoop());
  std::cout << ReportTable(stages) << std::flush;
  status = WriteReports(options, stages);
  return status.ok() ? CodeOfSamples(stages) : InputError(status);
}

int Main(int argc, char** argv) {
  CLI::App app("Load generator for a Precis server.", "precis-load");
  app.set_version_flag("--version", "precis-load 0.1.0");
  Options options;
  options.AddTo(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? cli::kExitOk : cli::kExitUsage;
  }
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  std::signal(SIGPIPE, SIG_IGN);
  return Run(options);
}

}  // namespace
}  // namespace precis::load

int main(int argc, char** argv) { return precis::load::Main(argc, argv); }
