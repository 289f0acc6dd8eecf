// What a run keeps in its folder.
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/files.h"
#include "client/eval/run/runner.h"

namespace precis::eval {
namespace {

// Names of what differs, or nothing.
std::string Differences(const Json& before, const Json& now) {
  std::vector<std::string> names;
  for (const auto& [name, value] : now.items()) {
    if (!before.contains(name) || before[name] != value) names.push_back(name);
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace

// What was set of the request; the rest is the server's default.
Json Runner::OptionsJson(const v1::SummarizeRequest& prototype) {
  const Json all = cli::MessageToJson(prototype);
  Json json = Json::object();
  const auto keep = [](const Json& value) { return !value.is_null() && value != "" && value != "unspecified" && !(value.is_array() && value.empty()); };
  for (const auto& [name, value] : all.items()) {
    static const std::set<std::string> kNotOptions = {"document", "attention_backend", "client_request_id", "unit_id", "return_token_ids", "options"};
    if (!kNotOptions.contains(name) && keep(value)) json[name] = value;
  }
  const Json options = cli::MessageToJson(prototype.options());
  for (const auto& [name, value] : options.items()) {
    const auto* const descriptor = v1::GenerationOptions::descriptor()->FindFieldByName(name);
    const bool set = descriptor->is_repeated() ? prototype.options().GetReflection()->FieldSize(prototype.options(), descriptor) > 0
                                               : prototype.options().GetReflection()->HasField(prototype.options(), descriptor);
    if (set) json[name] = value;
  }
  return json;
}

Json Runner::Configuration() const {
  Json names = Json::array();
  for (const Contender& contender : contenders_) names.push_back(contender.name);
  return {{"server_build", server_.backends.server_build()},
          {"device", server_.backends.device()},
          {"models", cli::MessageToJson(server_.models)["models"]},
          {"data", dataset_.hash},
          {"backends", names},
          {"options", OptionsJson(options_.prototype)},
          {"concurrency", options_.concurrency},
          {"lengths", options_.lengths},
          {"rates", options_.rates}};
}

absl::Status Runner::OpenFolder() {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(options_.out, error);
  if (error) return absl::NotFoundError(absl::StrCat("can't make the folder '", options_.out, "': ", error.message()));
  const std::string run_path = absl::StrCat(options_.out, "/", kRunFile), answers_path = absl::StrCat(options_.out, "/", kAnswersFile);
  if (options_.fresh) fs::remove(answers_path, error);
  std::vector<Json> lines;
  auto journal = Journal::Open(answers_path, &lines);
  if (!journal.ok()) return journal.status();
  journal_ = *std::move(journal);
  const Json configuration = Configuration();
  if (!lines.empty()) {
    const auto before = cli::ReadInput(run_path);
    const Json run = before.ok() ? Json::parse(*before, nullptr, false) : Json();
    const std::string differences = run.is_object() && run.contains("configuration") ? Differences(run["configuration"], configuration) : "run.json is missing";
    if (!differences.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("'", options_.out, "' holds another run (it differs in: ", differences,
                                                        "); choose another --out, or --fresh to throw that one away"));
    }
  }
  for (const Json& line : lines) {
    const auto answer = AnswerFromJson(line);
    if (answer.ok() && answer->ok()) done_.insert({answer->phase, answer->backend, answer->document});
  }
  Json bad = Json::array();
  for (const BadRow& row : dataset_.bad_rows) bad.push_back({{"file", row.file}, {"row", row.row}, {"problem", row.problem}});
  const Json run = {{"configuration", configuration},
                    {"server", server_.ToJson()},
                    {"client_machine", MachineFacts()},
                    {"data", {{"paths", options_.data.paths}, {"rows", dataset_.rows}, {"documents", dataset_.documents.size()}, {"sample", options_.data.sample},
                              {"sample_seed", options_.data.seed}, {"bad_rows", dataset_.bad_rows_total}, {"bad_rows_listed", bad}}},
                    {"order_seed", options_.order_seed},
                    {"warmup", options_.warmup},
                    {"length_repeats", options_.length_repeats},
                    {"started", absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())}};
  std::string documents;
  for (const Document& document : dataset_.documents) {
    absl::StrAppend(&documents, cli::Dump({{"id", document.id}, {"group", document.group}, {"text", document.text}, {"references", document.references}}, false), "\n");
  }
  absl::Status status = cli::WriteFile(absl::StrCat(options_.out, "/", kDocumentsFile), documents);
  status.Update(cli::WriteFile(run_path, cli::Dump(run, true) + "\n"));
  return status;
}

}  // namespace precis::eval
