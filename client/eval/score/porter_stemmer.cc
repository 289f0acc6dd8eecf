#include "client/eval/score/porter_stemmer.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace precis::eval {
namespace {

bool IsVowelLetter(char c) { return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u'; }

// A 'y' is a consonant unless the letter before it is one.
bool IsConsonant(std::string_view word, size_t index) {
  bool negate = false;
  for (; index > 0 && word[index] == 'y'; --index) negate = !negate;
  return IsVowelLetter(word[index]) == negate;
}

// How often a vowel is followed by a consonant.
int Measure(std::string_view stem) {
  int measure = 0;
  bool before = true;
  for (size_t i = 0; i < stem.size(); ++i) {
    const bool consonant = stem[i] == 'y' ? (i == 0 || !before) : !IsVowelLetter(stem[i]);
    measure += i > 0 && !before && consonant;
    before = consonant;
  }
  return measure;
}

bool ContainsVowel(std::string_view stem) {
  for (size_t i = 0; i < stem.size(); ++i) {
    if (!IsConsonant(stem, i)) return true;
  }
  return false;
}

bool EndsInDoubleConsonant(std::string_view word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && IsConsonant(word, n - 1);
}

bool EndsInCvc(std::string_view word) {
  const size_t n = word.size();
  if (n == 2) return !IsConsonant(word, 0) && IsConsonant(word, 1);
  const char last = n > 0 ? word[n - 1] : '\0';
  return n >= 3 && IsConsonant(word, n - 3) && !IsConsonant(word, n - 2) && IsConsonant(word, n - 1) && last != 'w' && last != 'x' &&
         last != 'y';
}

struct Rule {
  std::string_view suffix, replacement;
};

// The first rule whose suffix the word has decides: it is applied if the stem's measure is more than `measure`.
template <size_t kCount>
void ApplyFirst(const std::array<Rule, kCount>& rules, int measure, std::string* word) {
  for (const Rule& rule : rules) {
    if (!word->ends_with(rule.suffix)) continue;
    const size_t stem = word->size() - rule.suffix.size();
    if (measure < 0 || Measure(std::string_view(*word).substr(0, stem)) > measure) word->replace(stem, std::string::npos, rule.replacement);
    return;
  }
}

void Step1a(std::string* word) {
  if (word->size() == 4 && word->ends_with("ies")) {
    word->pop_back();
    return;
  }
  static constexpr std::array<Rule, 4> kRules = {{{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}}};
  ApplyFirst(kRules, -1, word);
}

// After -ed or -ing was taken off.
void RepairStem(std::string* word) {
  if (word->ends_with("at") || word->ends_with("bl") || word->ends_with("iz")) {
    *word += 'e';
  } else if (EndsInDoubleConsonant(*word)) {
    const char last = word->back();
    if (last != 'l' && last != 's' && last != 'z') word->pop_back();
  } else if (Measure(*word) == 1 && EndsInCvc(*word)) {
    *word += 'e';
  }
}

void Step1b(std::string* word) {
  if (word->ends_with("ied")) {
    word->resize(word->size() - (word->size() == 4 ? 1 : 2));
    return;
  }
  if (word->ends_with("eed")) {
    if (Measure(std::string_view(*word).substr(0, word->size() - 3)) > 0) word->pop_back();
    return;
  }
  for (std::string_view suffix : {"ed", "ing"}) {
    if (!word->ends_with(suffix)) continue;
    if (!ContainsVowel(std::string_view(*word).substr(0, word->size() - suffix.size()))) continue;
    word->resize(word->size() - suffix.size());
    RepairStem(word);
    return;
  }
}

void Step1c(std::string* word) {
  const size_t stem = word->size() - 1;
  if (word->ends_with('y') && stem > 1 && IsConsonant(*word, stem - 1)) word->back() = 'i';
}

void Step2(std::string* word) {
  while (word->ends_with("alli") && Measure(std::string_view(*word).substr(0, word->size() - 4)) > 0) word->resize(word->size() - 2);
  static constexpr std::array<Rule, 21> kRules = {
      {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},    {"alli", "al"},
       {"entli", "ent"},   {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},   {"alism", "al"},
       {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"}, {"fulli", "ful"}}};
  if (word->ends_with("logi")) {  // the l belongs to the stem: "geo", "theo"
    if (Measure(std::string_view(*word).substr(0, word->size() - 3)) > 0) word->pop_back();
    return;
  }
  ApplyFirst(kRules, 0, word);
}

void Step3(std::string* word) {
  static constexpr std::array<Rule, 7> kRules = {
      {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}}};
  ApplyFirst(kRules, 0, word);
}

void Step4(std::string* word) {
  static constexpr std::array<Rule, 11> kBeforeIon = {{{"al", ""}, {"ance", ""}, {"ence", ""}, {"er", ""}, {"ic", ""}, {"able", ""}, {"ible", ""},
                                                       {"ant", ""}, {"ement", ""}, {"ment", ""}, {"ent", ""}}};
  static constexpr std::array<Rule, 7> kAfterIon = {
      {{"ou", ""}, {"ism", ""}, {"ate", ""}, {"iti", ""}, {"ous", ""}, {"ive", ""}, {"ize", ""}}};
  if (word->ends_with("ion")) {
    const std::string_view stem = std::string_view(*word).substr(0, word->size() - 3);
    if (Measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't')) word->resize(stem.size());
    return;
  }
  const size_t before = word->size();
  ApplyFirst(kBeforeIon, 1, word);
  if (word->size() == before) ApplyFirst(kAfterIon, 1, word);  // the lists share no suffix
}

void Step5(std::string* word) {
  if (word->ends_with('e')) {
    const std::string_view stem = std::string_view(*word).substr(0, word->size() - 1);
    const int measure = Measure(stem);
    if (measure > 1 || (measure == 1 && !EndsInCvc(stem))) word->pop_back();
  }
  if (word->ends_with("ll") && Measure(std::string_view(*word).substr(0, word->size() - 1)) > 1) word->pop_back();
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 15> kIrregular = {{{"sky", "sky"}, {"skies", "sky"}, {"dying", "die"},
    {"lying", "lie"}, {"tying", "tie"}, {"news", "news"}, {"innings", "inning"}, {"inning", "inning"}, {"outings", "outing"},
    {"outing", "outing"}, {"cannings", "canning"}, {"canning", "canning"}, {"howe", "howe"}, {"proceed", "proceed"}, {"exceed", "exceed"}}};

}  // namespace

std::string PorterStem(std::string word) {
  const auto irregular = std::find_if(kIrregular.begin(), kIrregular.end(), [&](const auto& pair) { return pair.first == word; });
  if (irregular != kIrregular.end()) return std::string(irregular->second);
  if (word.size() <= 2 || word == "succeed") return word;
  Step1a(&word);
  Step1b(&word);
  if (!word.empty()) Step1c(&word);
  Step2(&word);
  Step3(&word);
  Step4(&word);
  Step5(&word);
  return word;
}

}  // namespace precis::eval
