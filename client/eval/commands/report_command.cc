#include "client/eval/commands/report_command.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/files.h"
#include "client/eval/report/writers.h"

namespace precis::eval {

void ReportOptions::AddTo(CLI::App* app) {
  app->add_option("--replicates", replicates, "Of the bootstrap and of the randomisation test")->check(CLI::Range(100, 1000000))->capture_default_str();
  app->add_option("--statistics-seed", seed, "Of their draws")->capture_default_str();
  app->add_option("--examples", examples, "Documents shown with their summaries in report.html")->check(CLI::Range(0, 1000))->capture_default_str();
  app->add_option("--threads", threads, "0 = as many as there are cores")->check(CLI::Range(0, 1024))->capture_default_str();
  app->add_flag("--lowercase", lowercase, "Lower-case all text before scoring; matters for BLEU and chrF of lower-cased references");
}

absl::Status WriteReport(const std::string& folder, const ReportOptions& options) {
  const auto study = LoadStudy(folder);
  if (!study.ok()) return study.status();
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const Scored scored = ScoreStudy(*study, options.lowercase, threads);
  Json results = Analyse(*study, scored, {.replicates = options.replicates, .seed = options.seed});
  results["lowercase"] = options.lowercase;
  const std::vector<Chart> charts = MakeCharts(*study, scored, results);
  std::error_code error;
  std::filesystem::remove_all(absl::StrCat(folder, "/charts"), error);
  std::filesystem::create_directories(absl::StrCat(folder, "/charts"), error);
  if (error) return absl::NotFoundError(absl::StrCat("can't make the folder '", folder, "/charts': ", error.message()));
  absl::Status status = cli::WriteFile(absl::StrCat(folder, "/results.json"), cli::Dump(results, true) + "\n");
  status.Update(cli::WriteFile(absl::StrCat(folder, "/report.html"), ReportHtml(*study, scored, results, charts, options.examples)));
  status.Update(cli::WriteFile(absl::StrCat(folder, "/report.md"), ReportMarkdown(results, charts)));
  for (const Chart& chart : charts) {
    const std::string svg = DrawChart(chart, true), path = absl::StrCat(folder, "/charts/", chart.id);
    status.Update(cli::WriteFile(path + ".svg", svg));
    status.Update(WritePng(svg, path + ".png"));
  }
  if (!status.ok()) return status;
  for (const Json& line : results["verdict"]) std::cout << "- " << line.get<std::string>() << "\n";
  std::cout << folder << "/report.html" << std::endl;
  return absl::OkStatus();
}

void ReportCommand::AddTo(CLI::App* app) {
  app->add_option("folder", folder, "Folder of a run")->required();
  options.AddTo(app);
  app->footer("Examples:\n"
              "  precis-eval report study\n"
              "  precis-eval report study --lowercase --replicates=10000\n\n"
              "Writes report.html (one file, no scripts), report.md, results.json and charts/*.svg and *.png into the folder. A run that was stopped is\n"
              "reported as far as it came: on the documents that every backend answered.");
}

int ReportCommand::Run() const {
  const absl::Status status = WriteReport(folder, options);
  if (status.ok()) return cli::kExitOk;
  cli::ReportError(status);
  return cli::kExitInput;
}

}  // namespace precis::eval
