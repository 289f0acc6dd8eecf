#include "client/eval/commands/score_command.h"

#include <algorithm>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/exit_code.h"
#include "client/cli/files.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "client/eval/data/dataset.h"
#include "client/eval/data/row_reader.h"
#include "client/eval/score/summary_json.h"

namespace precis::eval {
namespace {

struct PairFile {
  std::vector<Pair> pairs;
  std::vector<BadRow> bad_rows;
  int64_t bad_rows_total = 0;
};

// The cell under the name that was asked for, or under the first usual one.
const Row::Cell* FindCell(const Row& row, const std::string& wanted, std::initializer_list<const char*> usual) {
  if (!wanted.empty()) return row.Find(wanted);
  for (const char* name : usual) {
    if (const Row::Cell* cell = row.Find(name)) return cell;
  }
  return nullptr;
}

std::string ReadPair(const ScoreCommand& command, const Row& row, Pair* pair) {
  const Row::Cell* const references = FindCell(row, command.reference_column, {"reference", "references", "highlights", "summary", "target"});
  const Row::Cell* const hypothesis = FindCell(row, command.hypothesis_column, {"hypothesis", "prediction", "candidate", "generated"});
  const Row::Cell* const source = FindCell(row, command.source_column, {"source", "document", "article"});
  if (references == nullptr || references->empty()) return "has no reference (--reference-column)";
  if (hypothesis == nullptr || hypothesis->size() != 1) return "has no hypothesis (--hypothesis-column)";
  pair->references = *references;
  pair->hypothesis = hypothesis->front();
  if (source != nullptr && source->size() == 1) pair->source = source->front();
  for (const std::string& reference : pair->references) {
    if (static_cast<double>(reference.size()) / 2 * static_cast<double>(pair->hypothesis.size()) / 2 > kMostLcsCells) {
      return "reference and hypothesis are too long together: ROUGE-L compares each word of one with each of the other";
    }
  }
  return "";
}

absl::StatusOr<PairFile> ReadPairs(const ScoreCommand& command) {
  PairFile file;
  const auto add_bad = [&file](BadRow bad) {
    if (++file.bad_rows_total <= Dataset::kMostBadRowsListed) file.bad_rows.push_back(std::move(bad));
  };
  for (const std::string& path : command.pairs) {
    auto reader = OpenRows(path);
    if (!reader.ok()) return reader.status();
    Row row;
    while (true) {
      const auto more = (*reader)->Next(&row);
      if (!more.ok()) {
        add_bad({path, 0, absl::StrCat("the rest of the file is left out: ", std::string(more.status().message()))});
        break;
      }
      if (!*more) break;
      Pair pair;
      if (row.problem.empty()) row.problem = ReadPair(command, row, &pair);
      if (row.problem.empty()) {
        file.pairs.push_back(std::move(pair));
      } else {
        add_bad({path, row.number, row.problem});
      }
    }
  }
  return file;
}

void ReportBadRows(const PairFile& file) {
  constexpr size_t kShown = 10;
  for (size_t i = 0; i < std::min(file.bad_rows.size(), kShown); ++i) {
    const BadRow& bad = file.bad_rows[i];
    std::cerr << "left out: " << bad.file << (bad.row > 0 ? absl::StrCat(" row ", bad.row) : "") << ": " << bad.problem << "\n";
  }
  if (file.bad_rows_total > static_cast<int64_t>(kShown)) {
    std::cerr << "left out: " << file.bad_rows_total << " rows in all (the first " << kShown << " are listed; --json has " << file.bad_rows.size() << ")\n";
  }
}

Json PairJson(const PairScores& scores) {
  Json json = CorpusJson(std::span(&scores, 1));
  if (scores.faithfulness) {
    json["faithfulness"]["unsupported_numbers"] = scores.faithfulness->unsupported_numbers;
    json["faithfulness"]["unsupported_names"] = scores.faithfulness->unsupported_names;
  }
  return json;
}

std::string Table(const Json& json) {
  cli::Table table({"measure", "precision", "recall", "F", "score"});
  for (const char* name : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) {
    const Json& score = json[name];
    table.Add({name, absl::StrFormat("%.4f", score["precision"].get<double>()), absl::StrFormat("%.4f", score["recall"].get<double>()),
               absl::StrFormat("%.4f", score["fmeasure"].get<double>()), ""});
  }
  for (const char* name : {"bleu", "chrf", "bleu_nltk", "bleu_nltk_unsmoothed"}) table.Add({name, "", "", "", absl::StrFormat("%.4f", json[name].get<double>())});
  return absl::StrCat(json["n"].get<int64_t>(), " pairs\n", table.ToString());
}

}  // namespace

void ScoreCommand::AddTo(CLI::App* app) {
  app->add_option("--pairs", pairs, "Files of pairs: JSON lines {\"reference\", \"hypothesis\"[, \"source\"]}, or CSV, TSV or Parquet with such columns; "
                                    "a list of references counts as several")
      ->required();
  app->add_option("--reference-column", reference_column, "[reference, references, highlights, summary or target]");
  app->add_option("--hypothesis-column", hypothesis_column, "[hypothesis, prediction, candidate or generated]");
  app->add_option("--source-column", source_column, "The summarised text, for novelty, compression and faithfulness [source, document or article]");
  app->add_option("--per-pair", per_pair_file, "Write the scores of each pair to this file, a JSON object a line");
  app->add_option("--threads", threads, "0 = as many as there are cores")->check(CLI::Range(0, 1024))->capture_default_str();
  app->add_flag("--json", json, "Print a JSON object");
  app->footer("Examples:\n"
              "  precis-eval score --pairs=pairs.jsonl --json | jq .rouge2.fmeasure\n"
              "  precis-eval score --pairs=outputs.parquet --reference-column=highlights --hypothesis-column=flash --source-column=article\n\n"
              "ROUGE equals rouge-score 0.1.2 with its stemmer (rougeLsum splits at newlines), bleu and chrf sacreBLEU 2.5.1 with its defaults,\n"
              "bleu_nltk NLTK's sentence_bleu of text split at white space with SmoothingFunction().method1, bleu_nltk_unsmoothed without.");
}

int ScoreCommand::Run() const {
  const auto file = ReadPairs(*this);
  if (!file.ok()) {
    cli::ReportError(file.status());
    return cli::kExitInput;
  }
  ReportBadRows(*file);
  if (file->pairs.empty()) {
    std::cerr << "error: no pair to score" << std::endl;
    return cli::kExitInput;
  }
  const int workers = threads > 0 ? threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const std::vector<PairScores> scores = ScorePairs(file->pairs, workers);
  Json result = CorpusJson(scores);
  result["bad_rows"] = file->bad_rows_total;
  result["bad_rows_listed"] = Json::array();
  for (const BadRow& bad : file->bad_rows) result["bad_rows_listed"].push_back({{"file", bad.file}, {"row", bad.row}, {"problem", bad.problem}});
  if (!per_pair_file.empty()) {
    std::string lines;
    for (const PairScores& pair : scores) absl::StrAppend(&lines, cli::Dump(PairJson(pair), false), "\n");
    const absl::Status written = cli::WriteFile(per_pair_file, lines);
    if (!written.ok()) {
      cli::ReportError(written);
      return cli::kExitInput;
    }
  }
  std::cout << (json ? cli::Dump(result, true) + "\n" : Table(result)) << std::flush;
  return cli::kExitOk;
}

}  // namespace precis::eval
