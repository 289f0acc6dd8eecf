#include "client/eval/score/faithfulness.h"

#include <array>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace precis::eval {
namespace {

const absl::flat_hash_map<std::string, std::string>& NumberWords() {
  static const auto* const words = new absl::flat_hash_map<std::string, std::string>{
      {"zero", "0"},      {"one", "1"},        {"two", "2"},       {"three", "3"},    {"four", "4"},    {"five", "5"},     {"six", "6"},
      {"seven", "7"},     {"eight", "8"},      {"nine", "9"},      {"ten", "10"},     {"eleven", "11"}, {"twelve", "12"},  {"thirteen", "13"},
      {"fourteen", "14"}, {"fifteen", "15"},   {"sixteen", "16"},  {"seventeen", "17"}, {"eighteen", "18"}, {"nineteen", "19"}, {"twenty", "20"},
      {"thirty", "30"},   {"forty", "40"},     {"fifty", "50"},    {"sixty", "60"},   {"seventy", "70"}, {"eighty", "80"},  {"ninety", "90"},
      {"first", "1"},     {"second", "2"},     {"third", "3"},     {"hundred", "100"}, {"thousand", "1000"}};
  return *words;
}

// "1,250.50" -> "1250.5", "3rd" -> "3", "1990s" -> "1990".
std::string Normalise(std::string_view number) {
  std::string digits;
  for (const char c : number) {
    if ((c >= '0' && c <= '9') || c == '.') {
      digits += c;
    } else if (c != ',') {
      break;
    }
  }
  if (digits.find('.') == digits.npos) return digits;
  while (digits.ends_with('0')) digits.pop_back();
  if (digits.ends_with('.')) digits.pop_back();
  return digits;
}

struct Source {
  explicit Source(const std::vector<Word>& words) {
    for (const Word& word : words) {
      lower.insert(word.lower);
      if (word.number) numbers.insert(Normalise(word.text));
      const auto spelled = NumberWords().find(word.lower);
      if (spelled != NumberWords().end()) numbers.insert(spelled->second);
      if (word.capital && !word.begins_sentence) capitals.insert(word.text);
    }
  }
  absl::flat_hash_set<std::string> lower, numbers, capitals;
};

void CheckName(const std::vector<Word>& summary, size_t begin, size_t end, const Source& source, Faithfulness* result) {
  if (end - begin == 1) {
    const Word& word = summary[begin];
    if (word.lower == "i" || (word.begins_sentence && !source.capitals.contains(word.text))) return;
  }
  ++result->names;
  std::string name;
  bool supported = true;
  for (size_t i = begin; i < end; ++i) {
    absl::StrAppend(&name, name.empty() ? "" : " ", summary[i].text);
    supported = supported && source.lower.contains(summary[i].lower);
  }
  if (!supported) result->unsupported_names.push_back(name);
}

}  // namespace

Faithfulness CheckFaithfulness(const std::vector<Word>& source_words, const std::vector<Word>& summary) {
  const Source source(source_words);
  Faithfulness result;
  for (size_t i = 0; i < summary.size();) {
    if (summary[i].number) {
      ++result.numbers;
      const std::string number = Normalise(summary[i].text);
      if (!number.empty() && !source.numbers.contains(number)) result.unsupported_numbers.push_back(summary[i].text);
    }
    size_t end = i;
    while (end < summary.size() && summary[end].capital && (end == i || summary[end].adjacent)) ++end;
    if (end > i) CheckName(summary, i, end, source, &result);
    i = std::max(end, i + 1);
  }
  return result;
}

}  // namespace precis::eval
