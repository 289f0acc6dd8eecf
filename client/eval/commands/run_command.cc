#include "client/eval/commands/run_command.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/exit_code.h"
#include "client/eval/run/runner.h"

namespace precis::eval {
namespace {

std::atomic<bool> interrupted = false;

extern "C" void OnEvalSignal(int) {
  if (interrupted.exchange(true)) std::_Exit(130);  // the second one: at once
}

std::string DefaultCache() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') return absl::StrCat(cache, "/precis-eval");
  return home != nullptr && *home != '\0' ? absl::StrCat(home, "/.cache/precis-eval") : "";
}

template <typename T, typename Parse>
absl::Status ParseList(const char* flag, const std::string& text, Parse parse, std::vector<T>* values) {
  values->clear();
  if (text.empty() || text == "none") return absl::OkStatus();
  for (const absl::string_view piece : absl::StrSplit(text, ',')) {
    T value = 0;
    if (!parse(piece, &value) || value <= 0 || static_cast<double>(value) > 1e7) {
      return absl::InvalidArgumentError(absl::StrCat(flag, "=", text, ": '", piece, "' is no number above zero; give for instance 1,2,4, or none"));
    }
    values->push_back(value);
  }
  return absl::OkStatus();
}

// "flash+num-beams=4+length-penalty=2": the backend, and flags of this command that hold for this contender alone.
absl::StatusOr<Contender> ParseContender(const std::string& name, cli::RequestFlags flags) {
  const std::vector<std::string> parts = absl::StrSplit(name, '+');
  CLI::App app;
  flags.AddTo(&app);
  for (const char* not_here : {"--backend", "--unit-id", "--client-request-id"}) app.remove_option(app.get_option(not_here));
  std::vector<std::string> arguments;
  for (auto part = parts.rbegin(); part + 1 != parts.rend(); ++part) arguments.push_back("--" + *part);  // CLI11 takes them from the last to the first
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat("--backends: '", name, "': ", error.what(), "; expected a backend and, behind +, options of a request without their dashes, such as "
                                                   "flash+num-beams=4+length-penalty=2 or flash_alibi+too-long=chunk"));
  }
  flags.backend = parts[0];
  return Contender{name, flags.ToRequest()};
}

void AddDataFlags(RunCommand* command, CLI::App* app) {
  const std::string group = "Data";
  DatasetOptions* const data = &command->options.data;
  app->add_option("--data", data->paths, "Files or folders: .jsonl, .csv, .tsv, .parquet, .story, .txt, also with .gz, .xz or .zst")->required()->group(group);
  app->add_option("--document-column", data->columns.document, "[article, document, text, story, body, content, input, dialogue or source]")->group(group);
  app->add_option("--reference-column", data->columns.reference, "[highlights, summary, reference, references, abstract, target, tldr or output]")->group(group);
  app->add_option("--id-column", data->columns.id, "[id, hash, doc_id, paper_id or url]")->group(group);
  app->add_option("--group-column", data->columns.group, "Scores are also given for each value of this column [source, dataset, corpus or publisher]")->group(group);
  app->add_option("--sample", data->sample, "So many documents, drawn at random; 0 = all")->check(CLI::NonNegativeNumber)->capture_default_str()->group(group);
  app->add_option("--sample-seed", data->seed, "The same data and seed give the same documents")->capture_default_str()->group(group);
}

void AddMeasurementFlags(RunCommand* command, CLI::App* app) {
  const std::string group = "Measurement";
  RunOptions* const options = &command->options;
  app->add_option("--concurrency", options->concurrency, "Requests in flight while the documents are summarised")->check(CLI::Range(1, 256))->capture_default_str()->group(group);
  app->add_option("--warmup", options->warmup, "Requests of each backend before anything counts")->check(CLI::Range(1, 1000))->capture_default_str()->group(group);
  app->add_option("--lengths", command->lengths, "Words of the documents of the length sweep, or none")->capture_default_str()->group(group);
  app->add_option("--length-repeats", options->length_repeats, "Documents of each length")->check(CLI::Range(1, 999))->capture_default_str()->group(group);
  app->add_option("--rates", command->rates, "Also an open loop at these requests per second, such as 1,2,4 [none]")->group(group);
  app->add_option("--open-loop-requests", options->open_loop_requests, "Of each backend and rate")->check(CLI::Range(1, 100000))->capture_default_str()->group(group);
  app->add_option("--order-seed", options->order_seed, "Of the order of documents and backends")->capture_default_str()->group(group);
}

}  // namespace

void RunCommand::AddTo(CLI::App* app) {
  options.cache = DefaultCache();
  app->add_option("--backends", backends,
                  "What to compare, separated by commas: backends (see `precis backends`), each with options of its own where wanted: flash,flash+num-beams=4,flash+too-long=chunk "
                  "[all that the server's models serve]");
  app->add_option("--out", options.out, "Folder of the run; one that holds a part of the same run is gone on with")->required();
  app->add_flag("--fresh", options.fresh, "Throw away what the folder holds");
  app->add_option("--cache", options.cache, "Folder of answers of earlier runs")->capture_default_str();
  app->add_flag("--no-cache", no_cache, "Neither use nor fill the cache: everything is measured");
  app->add_flag("--quiet", options.quiet, "No progress");
  AddDataFlags(this, app);
  AddMeasurementFlags(this, app);
  request.AddTo(app);
  for (const char* name : {"--backend", "--unit-id", "--client-request-id"}) {
    if (CLI::Option* option = app->get_option_no_throw(name)) app->remove_option(option);
  }
  connection.AddTo(app);
  app->footer("Examples:\n"
              "  precis-eval run --server=127.0.0.1:50051 --data=test.parquet --sample=500 --backends=standard,flash,flash_alibi --out=study\n"
              "  precis-eval run --data=cnn/stories --data=dailymail/stories --out=study --no-repeat-ngram=3 --min-new-tokens=35 --max-new-tokens=110\n"
              "  precis-eval run --data=test.parquet --backends=flash,flash+num-beams=4+early-stopping=true,flash+too-long=chunk --out=decoding\n"
              "  precis-eval report study\n\n"
              "A run that was stopped goes on with the same command. Answers are kept by server build, checkpoint, options and document; those from\n"
              "the cache count for quality only, never for latency or memory.");
}

absl::StatusOr<RunOptions> RunCommand::ToOptions() {
  auto resolved = connection.ToOptions();
  if (!resolved.ok()) return resolved.status();
  options.connection = *std::move(resolved);
  options.deadline = connection.Deadline();
  options.prototype = request.ToRequest();
  options.contenders.clear();
  for (const absl::string_view name : absl::StrSplit(backends, ',', absl::SkipEmpty())) {
    auto contender = ParseContender(std::string(name), request);
    if (!contender.ok()) return contender.status();
    for (const Contender& other : options.contenders) {
      if (other.name == contender->name) return absl::InvalidArgumentError(absl::StrCat("--backends: '", other.name, "' is given twice"));
    }
    options.contenders.push_back(*std::move(contender));
  }
  if (no_cache) options.cache.clear();
  absl::Status status = ParseList("--lengths", lengths, [](absl::string_view text, int* value) { return absl::SimpleAtoi(text, value); }, &options.lengths);
  status.Update(ParseList("--rates", rates, [](absl::string_view text, double* value) { return absl::SimpleAtod(text, value); }, &options.rates));
  if (!status.ok()) return status;
  return options;
}

int RunAndReport(const RunOptions& options) {
  std::signal(SIGINT, OnEvalSignal);
  std::signal(SIGTERM, OnEvalSignal);
  Runner runner(options, &interrupted);
  const auto result = runner.Run();
  if (!result.ok()) {
    const int code = cli::ReportError(result.status());
    return code;
  }
  std::cerr << absl::StrCat(result->answered, " answers (", result->from_cache, " from the cache) and ", result->from_before, " from before are in '", options.out, "'")
            << std::endl;
  if (result->failed > 0) {
    std::cerr << absl::StrCat(result->failed, " requests failed; they are tried again when the command is repeated. The first: ", result->first_error) << std::endl;
  }
  if (result->interrupted) {
    std::cerr << "stopped: the same command goes on from here" << std::endl;
    return 130;
  }
  return result->failed > 0 && result->answered + result->from_before == 0 ? cli::kExitFailed : cli::kExitOk;
}

int RunCommand::Run() {
  const auto resolved = ToOptions();
  if (!resolved.ok()) {
    cli::ReportError(resolved.status());
    return cli::kExitUsage;
  }
  return RunAndReport(*resolved);
}

}  // namespace precis::eval
