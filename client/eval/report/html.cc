#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/eval/report/writers.h"
#include "client/eval/score/lcs.h"
#include "client/eval/text/words.h"

namespace precis::eval {
namespace {

std::string Element(const char* tag, const std::string& text) { return absl::StrCat("<", tag, ">", EscapeMarkup(text), "</", tag, ">"); }

std::string TableHtml(const TextTable& table) {
  // Names stand at the left, what begins like a number at the right.
  std::vector<bool> is_text(table.header.size(), false);
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) is_text[i] = is_text[i] || (!row[i].empty() && std::isalpha(static_cast<unsigned char>(row[i][0])));
  }
  const auto cells = [&](const char* tag, const std::vector<std::string>& row) {
    std::string html = "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      std::string cell = EscapeMarkup(row[i]);
      if (is_text[i]) cell = absl::StrReplaceAll(cell, {{"+", "<wbr>+"}});  // where a contender's name may be broken
      absl::StrAppend(&html, "<", tag, is_text[i] ? " class=\"text\">" : ">", cell, "</", tag, ">");
    }
    return html + "</tr>\n";
  };
  std::string html = absl::StrCat("<div class=\"scroll\"><table>", Element("caption", table.caption), "<thead>", cells("th", table.header), "</thead><tbody>\n");
  for (const auto& row : table.rows) html += cells("td", row);
  return html + "</tbody></table></div>\n";
}

// The text with the words marked that `other` does not have in this order, and the numbers and names that the source does not have.
std::string MarkedText(const std::string& text, const std::string& other, const Faithfulness* faithfulness) {
  const std::vector<Word> words = SplitWords(text), other_words = SplitWords(other);
  Vocabulary vocabulary;
  std::vector<uint32_t> ids, other_ids;
  for (const Word& word : words) ids.push_back(vocabulary.Id(word.lower));
  for (const Word& word : other_words) other_ids.push_back(vocabulary.Id(word.lower));
  std::vector<bool> common(words.size(), other.empty());
  if (!other.empty()) {
    for (const int64_t i : LcsMatcher(other_ids).Positions(ids)) common[i] = true;
  }
  std::set<std::string> invented;
  if (faithfulness != nullptr) {
    invented.insert(faithfulness->unsupported_numbers.begin(), faithfulness->unsupported_numbers.end());
    for (const std::string& name : faithfulness->unsupported_names) {
      for (const Word& word : SplitWords(name)) invented.insert(word.text);
    }
  }
  std::string html;
  size_t at = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t begin = text.find(words[i].text, at);
    html += EscapeMarkup(text.substr(at, begin - at));
    std::string word = EscapeMarkup(words[i].text);
    if (invented.contains(words[i].text)) word = absl::StrCat("<span class=\"invented\" title=\"not in the document\">", word, "</span>");
    html += common[i] ? word : "<mark>" + word + "</mark>";
    at = begin + words[i].text.size();
  }
  return html + EscapeMarkup(text.substr(at));
}

// Best, middle and worst by the first backend's ROUGE-1, and those on which the backends differ most.
std::vector<size_t> PickExamples(const Scored& scored, int count) {
  std::vector<size_t> order(scored.documents.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto rouge = [&](size_t system, size_t k) { return scored.systems[system].scores[k].rouge.rouge1.fmeasure; };
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return rouge(0, i) > rouge(0, j); });
  std::vector<size_t> picked;
  const auto pick = [&](size_t k) {
    if (static_cast<int>(picked.size()) < count && std::find(picked.begin(), picked.end(), k) == picked.end()) picked.push_back(k);
  };
  if (order.empty()) return picked;
  pick(order[order.size() / 20]);
  pick(order[order.size() / 2]);
  pick(order[order.size() - 1 - order.size() / 20]);
  const auto spread = [&](size_t k) {
    double low = 1, high = 0;
    for (size_t s = 0; s < scored.systems.size() && !scored.systems[s].baseline; ++s) {
      low = std::min(low, rouge(s, k));
      high = std::max(high, rouge(s, k));
    }
    return high - low;
  };
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return spread(i) > spread(j); });
  for (const size_t k : order) pick(k);
  return picked;
}

std::string ExampleHtml(const Study& study, const Scored& scored, size_t k) {
  const Document& document = study.documents[scored.documents[k]];
  std::string html = absl::StrCat("<article class=\"example\">", Element("h3", document.id + (document.group.empty() ? "" : " (" + document.group + ")")), "<div class=\"texts\">");
  absl::StrAppend(&html, "<section><h4>reference</h4><p>", EscapeMarkup(document.references.front()), "</p></section>");
  const std::string& first = scored.systems.front().texts[k];
  for (size_t s = 0; s < scored.systems.size(); ++s) {
    const System& system = scored.systems[s];
    if (system.name == "oracle") continue;
    const PairScores& scores = system.scores[k];
    const bool same = s > 0 && system.texts[k] == first;
    absl::StrAppend(&html, "<section>", Element("h4", absl::StrFormat("%s: ROUGE-1 %.1f, ROUGE-2 %.1f", system.name, 100 * scores.rouge.rouge1.fmeasure, 100 * scores.rouge.rouge2.fmeasure)));
    if (same) {
      absl::StrAppend(&html, "<p class=\"soft\">the same as ", EscapeMarkup(scored.systems.front().name), "</p></section>");
    } else {
      absl::StrAppend(&html, "<p>", MarkedText(system.texts[k], s == 0 || system.baseline ? "" : first, scores.faithfulness ? &*scores.faithfulness : nullptr), "</p></section>");
    }
  }
  constexpr size_t kShown = 4000;
  std::string text = document.text;
  if (text.size() > kShown) {
    size_t end = kShown;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + " …";
  }
  return absl::StrCat(html, "</div><details><summary>document</summary><p>", EscapeMarkup(text), "</p></details></article>\n");
}

std::string Facts(const Json& results) {
  const Json& run = results["run"];
  const Json& configuration = run["configuration"];
  std::string html = "<dl>";
  const auto fact = [&](const char* name, const std::string& value) { absl::StrAppend(&html, "<dt>", name, "</dt><dd>", EscapeMarkup(value), "</dd>"); };
  fact("Server", absl::StrCat(configuration["server_build"].get<std::string>(), " on ", configuration["device"].get<std::string>()));
  for (const Json& model : configuration["models"]) {
    for (const Json& checkpoint : model["checkpoints"]) {
      fact("Checkpoint", absl::StrCat(model["name"].get<std::string>(), "/", checkpoint["name"].get<std::string>(), ": ", checkpoint["positions"].get<std::string>(), " positions, ",
                                      checkpoint["weights_dtype"].get<std::string>(), ", ", FormatValue(checkpoint["parameters"].get<double>() / 1e6, Unit::kNumber), "M parameters, ",
                                      checkpoint["context_tokens"].dump(), " tokens of context"));
    }
  }
  fact("Options", configuration["options"].dump());
  fact("Concurrency", configuration["concurrency"].dump() + " requests, one backend at a time in blocks, in random order");
  const bool energy = std::any_of(results["efficiency"].begin(), results["efficiency"].end(), [](const Json& json) { return json.contains("energy_joules"); });
  fact("Energy", energy ? "as the server reports it for each request" : "not reported: the server does not know what its device draws");
  fact("Data", absl::StrCat(run["data"]["paths"].dump(), ": ", run["data"]["rows"].dump(), " rows read, ", run["data"]["bad_rows"].dump(), " bad ones left out, ",
                            run["data"]["documents"].dump(), " documents taken (sample seed ", run["data"]["sample_seed"].dump(), ")"));
  fact("Client's machine", run["client_machine"].dump());
  fact("Started", run["started"].get<std::string>());
  fact("Intervals", absl::StrCat("percentile bootstrap over documents, ", results["statistics"]["replicates"].dump(), " replicates"));
  return html + "</dl>\n";
}

std::string BadRows(const Json& results) {
  const Json& bad = results["run"]["data"]["bad_rows_listed"];
  if (bad.empty()) return "";
  TextTable table{.caption = absl::StrCat(results["run"]["data"]["bad_rows"].dump(), " rows were left out"), .header = {"file", "row", "problem"}};
  for (const Json& row : bad) {
    table.rows.push_back({row["file"].get<std::string>(), row["row"] == 0 ? "" : row["row"].dump(), row["problem"].get<std::string>()});
    if (table.rows.size() == 50) break;
  }
  return "<h3>Rows left out</h3>" + TableHtml(table);
}

constexpr char kMethod[] =
    "<p>ROUGE equals rouge-score with its stemmer, F measures; for ROUGE-Lsum each sentence stands on a line of its own. BLEU is sacreBLEU's corpus score (13a tokens, "
    "exponential smoothing), BLEU (NLTK) the mean of NLTK's sentence scores of text split at white space with smoothing method 1, chrF sacreBLEU's. lead-3 is the first three "
    "sentences, oracle the three sentences that a greedy search finds closest to the reference. Numbers and names are counted as unsupported when the document has no such "
    "number or word; the measure finds what is not there, not what is said of the wrong one. Intervals are of 95%. Significance: two-sided approximate randomisation on the same "
    "documents, corrected by Holm's method.</p>"
    "<p>Latency and memory are of the server's own accounting, of answers that were measured in this run; answers taken from the cache count for quality only. The attention "
    "workspace is the largest of a step that the request was in. The length sweep runs one request at a time on texts cut from the documents.</p>\n";

}  // namespace

std::string ReportHtml(const Study& study, const Scored& scored, const Json& results, const std::vector<Chart>& charts, int examples) {
  std::string html = absl::StrCat("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                                  "<title>Attention backends: quality and efficiency</title><style>", ReportStyle(), "</style></head><body><main>\n");
  absl::StrAppend(&html, "<h1>Attention backends: quality and efficiency</h1><p class=\"soft\">", results["documents"].dump(), " documents, ", results["documents_scored"].dump(),
                  " answered by every backend and scored</p>\n<div class=\"verdict\"><ul>");
  for (const Json& line : results["verdict"]) html += Element("li", line.get<std::string>());
  html += "</ul></div>\n<h2>Charts</h2>\n<div class=\"charts\">\n";
  for (const Chart& chart : charts) absl::StrAppend(&html, "<figure id=\"", chart.id, "\">", DrawChart(chart, false), "</figure>\n");
  html += "</div>\n<h2>Tables</h2>\n";
  for (const TextTable& table : MakeTables(results)) html += TableHtml(table);
  const std::vector<size_t> picked = PickExamples(scored, examples);
  if (!picked.empty()) {
    absl::StrAppend(&html, "<h2>Examples</h2><p class=\"soft\">Words in <mark>blue</mark> differ from ", EscapeMarkup(scored.systems.front().name),
                    "'s summary; <span class=\"invented\">underlined</span> numbers and names are not in the document. Chosen by ROUGE-1: high, middle, low, then where the backends differ most.</p>\n");
    for (const size_t k : picked) html += ExampleHtml(study, scored, k);
  }
  return absl::StrCat(html, "<h2>How it was measured</h2>\n", kMethod, Facts(results), BadRows(results), "</main></body></html>\n");
}

std::string ReportMarkdown(const Json& results, const std::vector<Chart>& charts) {
  std::string text = absl::StrCat("# Attention backends: quality and efficiency\n\n", results["documents"].dump(), " documents, ", results["documents_scored"].dump(),
                                  " answered by every backend and scored.\n\n");
  for (const Json& line : results["verdict"]) absl::StrAppend(&text, "- ", line.get<std::string>(), "\n");
  for (const TextTable& table : MakeTables(results)) {
    absl::StrAppend(&text, "\n**", table.caption, "**\n\n");
    const auto row = [&](const std::vector<std::string>& cells) {
      for (const std::string& cell : cells) absl::StrAppend(&text, "| ", cell, " ");
      text += "|\n";
    };
    row(table.header);
    row(std::vector<std::string>(table.header.size(), "---"));
    for (const auto& cells : table.rows) row(cells);
  }
  text += "\n";
  for (const Chart& chart : charts) absl::StrAppend(&text, "![", chart.title, "](charts/", chart.id, ".svg)\n");
  const Json& configuration = results["run"]["configuration"];
  absl::StrAppend(&text, "\nServer ", configuration["server_build"].get<std::string>(), " on ", configuration["device"].get<std::string>(), "; options `", configuration["options"].dump(),
                  "`; concurrency ", configuration["concurrency"].dump(), "; client's machine `", results["run"]["client_machine"].dump(), "`; started ",
                  results["run"]["started"].get<std::string>(), ".\n");
  return text;
}

}  // namespace precis::eval
