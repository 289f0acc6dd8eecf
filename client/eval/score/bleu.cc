#include "client/eval/score/bleu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_replace.h"
#include "client/eval/score/grams.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

constexpr int kOrder = 4;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsPeriodOrComma(char c) { return c == '.' || c == ','; }

// ASCII punctuation other than the apostrophe, the period, the comma and the hyphen.
bool IsSeparated(char c) {
  const auto between = [c](char low, char high) { return c >= low && c <= high; };
  return between('{', '~') || between('[', '`') || between(' ', '&') || between('(', '+') || between(':', '@') || c == '/';
}

// The rules of mteval as substitutions from left to right whose matches don't overlap, as `re.sub` makes them. What a rule looks at besides
// ASCII it only copies, so that bytes stand for code points.

std::string SeparatePunctuation(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (IsSeparated(c)) {
      result += {' ', c, ' '};
    } else {
      result += c;
    }
  }
  return result;
}

// A pair (first, second) that `matches` gets spaces before, between and after as told.
template <typename Matches>
std::string SeparatePairs(std::string_view text, Matches matches, std::string_view before, std::string_view between, std::string_view after) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && matches(text[i], text[i + 1])) {
      result += before;
      result += text[i];
      result += between;
      result += text[++i];
      result += after;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<uint32_t> WordIds(const std::vector<std::string_view>& words, Vocabulary* vocabulary) {
  std::vector<uint32_t> ids;
  ids.reserve(words.size());
  for (const std::string_view word : words) ids.push_back(vocabulary->Id(word));
  return ids;
}

// `split`: text to words.
template <typename Split>
BleuCounts Count(std::span<const std::string> references, std::string_view hypothesis, Split split) {
  Vocabulary vocabulary;
  const std::vector<uint32_t> ids = split(hypothesis, &vocabulary);
  const Grams grams(ids, kOrder, 32);
  std::array<GramCounts, kOrder> best;
  BleuCounts counts{.hypothesis_length = static_cast<int64_t>(ids.size()), .reference_length = -1};
  for (const std::string& reference : references) {
    const std::vector<uint32_t> words = split(reference, &vocabulary);
    const Grams reference_grams(words, kOrder, 32);
    for (int n = 1; n <= kOrder; ++n) {
      GramCounts counted = reference_grams.Counts(n);
      best[n - 1] = best[n - 1].empty() ? std::move(counted) : Union(best[n - 1], counted);
    }
    const int64_t length = static_cast<int64_t>(words.size());
    const auto distance = [&](int64_t l) { return std::pair(std::abs(l - counts.hypothesis_length), l); };
    if (counts.reference_length < 0 || distance(length) < distance(counts.reference_length)) counts.reference_length = length;
  }
  for (int n = 1; n <= kOrder; ++n) {
    counts.totals[n - 1] = grams.Total(n);
    counts.matches[n - 1] = CountMatches(grams.Counts(n), best[n - 1]);
  }
  return counts;
}

}  // namespace

BleuCounts& BleuCounts::operator+=(const BleuCounts& other) {
  hypothesis_length += other.hypothesis_length;
  reference_length += other.reference_length;
  for (int i = 0; i < kOrder; ++i) {
    matches[i] += other.matches[i];
    totals[i] += other.totals[i];
  }
  return *this;
}

BleuCounts& BleuCounts::operator-=(const BleuCounts& other) {
  hypothesis_length -= other.hypothesis_length;
  reference_length -= other.reference_length;
  for (int i = 0; i < kOrder; ++i) {
    matches[i] -= other.matches[i];
    totals[i] -= other.totals[i];
  }
  return *this;
}

std::string Tokenize13a(std::string_view text) {
  std::string line = absl::StrReplaceAll(std::string(StripRight(text)), {{"<skipped>", ""}});
  line = absl::StrReplaceAll(line, {{"-\n", ""}});
  line = absl::StrReplaceAll(line, {{"\n", " "}});
  for (const auto& [entity, character] : {std::pair{"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}}) {
    line = absl::StrReplaceAll(line, {{entity, character}});
  }
  line = SeparatePunctuation(" " + line + " ");
  line = SeparatePairs(line, [](char a, char b) { return !IsDigit(a) && IsPeriodOrComma(b); }, "", " ", " ");
  line = SeparatePairs(line, [](char a, char b) { return IsPeriodOrComma(a) && !IsDigit(b); }, " ", " ", "");
  line = SeparatePairs(line, [](char a, char b) { return IsDigit(a) && b == '-'; }, "", " ", " ");
  std::string result;
  for (const std::string_view word : SplitOnSpace(line)) {
    if (!result.empty()) result += ' ';
    result += word;
  }
  return result;
}

BleuCounts CountBleu(std::span<const std::string> references, std::string_view hypothesis) {
  return Count(references, hypothesis, [](std::string_view text, Vocabulary* vocabulary) {
    const std::string tokens = Tokenize13a(text);
    return WordIds(SplitOnSpace(tokens), vocabulary);
  });
}

double Bleu(const BleuCounts& counts) {
  if (std::all_of(counts.matches.begin(), counts.matches.end(), [](int64_t n) { return n == 0; })) return 0;
  const double hypothesis = static_cast<double>(counts.hypothesis_length), reference = static_cast<double>(counts.reference_length);
  const double brevity = hypothesis < reference ? std::exp(1 - reference / hypothesis) : 1;
  double sum = 0, smoothing = 1;
  for (int n = 0; n < kOrder; ++n) {
    const double matches = static_cast<double>(counts.matches[n]), total = static_cast<double>(counts.totals[n]);
    if (counts.totals[n] == 0) return 0;  // no hypothesis is as long as this n
    if (counts.matches[n] == 0) smoothing *= 2;
    sum += std::log(100 * (counts.matches[n] == 0 ? 1 / smoothing : matches) / total);
  }
  return brevity * std::exp(sum / kOrder);
}

NltkBleu SentenceBleu(std::span<const std::string> references, std::string_view hypothesis) {
  const BleuCounts counts = Count(references, hypothesis, [](std::string_view text, Vocabulary* vocabulary) {
    return WordIds(SplitOnSpace(text), vocabulary);
  });
  if (counts.matches[0] == 0) return {};
  const double length = static_cast<double>(counts.hypothesis_length), reference = static_cast<double>(counts.reference_length);
  const double brevity = length > reference ? 1 : std::exp(1 - reference / length);
  double method1 = 0, unsmoothed = 0;
  for (int n = 0; n < kOrder; ++n) {
    const double total = static_cast<double>(std::max<int64_t>(1, counts.totals[n])), matches = static_cast<double>(counts.matches[n]);
    method1 += 0.25 * std::log(counts.matches[n] == 0 ? 0.1 / total : matches / total);
    unsmoothed += 0.25 * std::log(counts.matches[n] == 0 ? std::numeric_limits<double>::min() : matches / total);
  }
  return {brevity * std::exp(method1), brevity * std::exp(unsmoothed)};
}

}  // namespace precis::eval
