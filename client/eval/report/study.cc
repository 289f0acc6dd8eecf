#include "client/eval/report/study.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "client/cli/files.h"
#include "client/eval/report/chart.h"
#include "client/eval/run/journal.h"
#include "client/eval/run/runner.h"
#include "client/eval/score/baselines.h"
#include "client/eval/text/words.h"

namespace precis::eval {
namespace {

absl::Status ReadDocuments(const std::string& path, std::vector<Document>* documents) {
  const auto lines = ReadJournal(path);
  if (!lines.ok()) return lines.status();
  for (const Json& line : *lines) {
    try {
      documents->push_back({line.at("id"), line.at("text"), line.at("references"), line.at("group")});
    } catch (const nlohmann::json::exception& error) {
      return absl::DataLossError(absl::StrCat("'", path, "': ", error.what()));
    }
  }
  return absl::OkStatus();
}

void AddBlock(const Json& line, Study* study) {
  try {
    study->blocks.push_back({line.at("block"), line.at("seconds"), line.at("documents").get<std::vector<int64_t>>()});
  } catch (const nlohmann::json::exception&) {
    // A line of another form is no block.
  }
}

std::string Lower(const std::string& text) {
  std::string result;
  size_t at = 0;
  for (const Word& word : SplitWords(text)) {
    const size_t begin = text.find(word.text, at);
    result.append(text, at, begin - at);
    result += word.lower;
    at = begin + word.text.size();
  }
  return result.append(text, at, text.npos);
}

System MakeSystem(std::string name, bool baseline, int color) { return {.name = std::move(name), .baseline = baseline, .color = color}; }

}  // namespace

absl::StatusOr<Study> LoadStudy(const std::string& folder) {
  const auto run = cli::ReadInput(absl::StrCat(folder, "/", kRunFile));
  if (!run.ok()) return absl::NotFoundError(absl::StrCat("'", folder, "' holds no run (", std::string(run.status().message()), "); make one by `precis-eval run --out=", folder, "`"));
  Study study;
  study.run = Json::parse(*run, nullptr, /*allow_exceptions=*/false);
  const bool readable = study.run.is_object() && study.run.contains("configuration") && study.run["configuration"].contains("backends");
  if (!readable) return absl::DataLossError(absl::StrCat("'", folder, "/", kRunFile, "' is damaged"));
  study.backends = study.run["configuration"]["backends"].get<std::vector<std::string>>();
  const absl::Status status = ReadDocuments(absl::StrCat(folder, "/", kDocumentsFile), &study.documents);
  if (!status.ok()) return status;
  const auto lines = ReadJournal(absl::StrCat(folder, "/", kAnswersFile));
  if (!lines.ok()) return lines.status();
  std::map<std::tuple<std::string, std::string, int64_t>, Answer> last;
  for (const Json& line : *lines) {
    auto answer = AnswerFromJson(line);
    if (!answer.ok()) {
      AddBlock(line, &study);
    } else if (answer->phase != "documents" || (answer->document >= 0 && answer->document < static_cast<int64_t>(study.documents.size()))) {
      last[{answer->phase, answer->backend, answer->document}] = *std::move(answer);
    }
  }
  for (auto& [key, answer] : last) study.answers.push_back(std::move(answer));
  return study;
}

Scored ScoreStudy(const Study& study, bool lowercase, int threads) {
  std::map<std::pair<std::string, int64_t>, const Answer*> answers;
  for (const Answer& answer : study.answers) {
    if (answer.phase == "documents" && answer.ok()) answers[{answer.backend, answer.document}] = &answer;
  }
  Scored scored;
  for (int64_t i = 0; i < static_cast<int64_t>(study.documents.size()); ++i) {
    const bool all = std::all_of(study.backends.begin(), study.backends.end(), [&](const std::string& backend) { return answers.contains({backend, i}); });
    if (all && !study.documents[i].references.empty()) scored.documents.push_back(i);
  }
  int color = 0;
  for (const std::string& backend : study.backends) {
    System system = MakeSystem(backend, false, color++ % 6);
    for (const int64_t i : scored.documents) system.texts.push_back(SentencePerLine(answers[{backend, i}]->summary));
    scored.systems.push_back(std::move(system));
  }
  System lead = MakeSystem("lead-3", true, 6), oracle = MakeSystem("oracle", true, 7);
  for (const int64_t i : scored.documents) {
    lead.texts.push_back(Lead(study.documents[i].text, 3));
    oracle.texts.push_back(Oracle(study.documents[i].text, study.documents[i].references, 3));
  }
  scored.systems.push_back(std::move(lead));
  scored.systems.push_back(std::move(oracle));
  for (System& system : scored.systems) {
    std::vector<Pair> pairs;
    for (size_t k = 0; k < scored.documents.size(); ++k) {
      const Document& document = study.documents[scored.documents[k]];
      Pair pair{.hypothesis = system.texts[k], .source = document.text};
      for (const std::string& reference : document.references) pair.references.push_back(SentencePerLine(reference));
      if (lowercase) {
        pair.hypothesis = Lower(pair.hypothesis);
        for (std::string& reference : pair.references) reference = Lower(reference);
      }
      pairs.push_back(std::move(pair));
    }
    system.scores = ScorePairs(pairs, threads);
  }
  return scored;
}

}  // namespace precis::eval
