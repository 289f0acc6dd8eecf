#include "client/eval/text/words.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>

#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

enum class Kind { kLetter, kDigit, kSpace, kOther };

Kind KindOf(char32_t value) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(value))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return Kind::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return Kind::kDigit;
    default:
      return IsSpace(value) ? Kind::kSpace : Kind::kOther;
  }
}

bool IsCapital(char32_t value) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(value));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT;
}

void AppendLower(char32_t value, std::string* text) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(utf8proc_tolower(static_cast<utf8proc_int32_t>(value)), bytes);
  text->append(reinterpret_cast<const char*>(bytes), length);
}

bool JoinsWords(char32_t value) { return value == '-' || value == '\'' || value == 0x2019 || value == 0x2010 || value == 0x2011; }
bool EndsSentence(char32_t value) { return value == '.' || value == '!' || value == '?' || value == '\n' || value == 0x3002; }

// A '.' or ',' within a number: a digit follows.
bool IsInsideNumber(const Word& word, std::string_view rest) {
  return word.number && rest.size() >= 2 && (rest[0] == '.' || rest[0] == ',') && rest[1] >= '0' && rest[1] <= '9';
}

constexpr std::array<std::string_view, 17> kTitles = {"mr", "mrs", "ms", "dr", "prof", "rev", "gen", "sen", "rep", "gov", "lt", "col", "sgt", "capt", "st", "jr", "vs"};

// Whether the word before a '.' is an abbreviation that a sentence goes on after.
bool IsAbbreviation(std::string_view before) {
  const size_t begin = before.find_last_of(" \t(\"'.") + 1;
  std::string word(before.substr(begin));
  for (char& c : word) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  const bool initial = word.size() == 1 && word[0] >= 'a' && word[0] <= 'z' && word != "i";
  return initial || std::find(kTitles.begin(), kTitles.end(), word) != kTitles.end();
}

}  // namespace

std::vector<Word> SplitWords(std::string_view text) {
  std::vector<Word> words;
  Word word;
  bool new_sentence = true, adjacent = false;
  const auto finish = [&] {
    if (word.text.empty()) return;
    words.push_back(std::move(word));
    word = Word();
    adjacent = true;
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = ReadCodePoint(text.substr(at));
    const Kind kind = KindOf(point.value);
    if (kind == Kind::kLetter || kind == Kind::kDigit || IsInsideNumber(word, text.substr(at))) {
      if (word.text.empty()) {
        word.capital = IsCapital(point.value);
        word.number = kind == Kind::kDigit;
        word.begins_sentence = std::exchange(new_sentence, false);
        word.adjacent = adjacent && !word.begins_sentence;
      }
      word.text += text.substr(at, point.length);
      AppendLower(point.value, &word.lower);
    } else {
      finish();
      if (EndsSentence(point.value) && !(point.value == '.' && IsAbbreviation(text.substr(0, at)))) new_sentence = true;
      // A title's or an initial's period does not part it from the name.
      if (kind != Kind::kSpace && !JoinsWords(point.value) && point.value != '.') adjacent = false;
    }
    at += point.length;
  }
  finish();
  return words;
}

std::vector<std::string_view> SplitSentences(std::string_view text) {
  std::vector<std::string_view> sentences;
  size_t begin = 0;
  const auto cut = [&](size_t end) {
    const std::string_view sentence = Strip(text.substr(begin, end - begin));
    if (!sentence.empty()) sentences.push_back(sentence);
    begin = end;
  };
  static constexpr std::string_view kEnds = ".!?", kClosing = "\"')]";
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\n') {
      cut(at + 1);
      continue;
    }
    if (kEnds.find(text[at]) == kEnds.npos) continue;
    size_t end = at + 1;
    while (end < text.size() && (kEnds.find(text[end]) != kEnds.npos || kClosing.find(text[end]) != kClosing.npos ||
                                 text.substr(end, 3) == "\u201D" || text.substr(end, 3) == "\u2019")) {
      end += static_cast<unsigned char>(text[end]) >= 0x80 ? 3 : 1;
    }
    if (end < text.size() && !IsSpace(ReadCodePoint(text.substr(end)).value)) continue;
    if (end == at + 1 && text[at] == '.' && IsAbbreviation(text.substr(begin, at - begin))) continue;
    cut(end);
    at = end - 1;
  }
  cut(text.size());
  return sentences;
}

}  // namespace precis::eval
