#include "client/eval/score/rouge.h"

#include <algorithm>

#include "client/eval/score/lcs.h"
#include "client/eval/score/porter_stemmer.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

constexpr size_t kMostKnownWords = 1 << 20;

PrecisionRecall FromCounts(int64_t matches, int64_t hypothesis, int64_t reference) {
  PrecisionRecall score;
  score.precision = static_cast<double>(matches) / static_cast<double>(std::max<int64_t>(hypothesis, 1));
  score.recall = static_cast<double>(matches) / static_cast<double>(std::max<int64_t>(reference, 1));
  const double sum = score.precision + score.recall;
  if (sum > 0) score.fmeasure = 2 * score.precision * score.recall / sum;
  return score;
}

PrecisionRecall ScoreGrams(const Grams& reference, const Grams& hypothesis, int n) {
  return FromCounts(CountMatches(reference.Counts(n), hypothesis.Counts(n)), hypothesis.Total(n), reference.Total(n));
}

PrecisionRecall RougeL(std::span<const uint32_t> reference, std::span<const uint32_t> hypothesis) {
  if (reference.empty() || hypothesis.empty()) return {};
  return FromCounts(LcsMatcher(hypothesis).Length(reference), static_cast<int64_t>(hypothesis.size()), static_cast<int64_t>(reference.size()));
}

using Sentences = std::vector<std::vector<uint32_t>>;
using WordCounts = absl::flat_hash_map<uint32_t, int64_t>;

WordCounts CountWords(const Sentences& sentences, int64_t* total) {
  WordCounts counts;
  for (const auto& sentence : sentences) {
    for (const uint32_t word : sentence) ++counts[word];
    *total += static_cast<int64_t>(sentence.size());
  }
  return counts;
}

// The union over the hypothesis' sentences of each reference sentence's subsequence; a word counts no oftener than both texts have it.
PrecisionRecall RougeLsum(const Sentences& reference, const Sentences& hypothesis) {
  int64_t reference_words = 0, hypothesis_words = 0, hits = 0;
  WordCounts left_reference = CountWords(reference, &reference_words), left_hypothesis = CountWords(hypothesis, &hypothesis_words);
  if (reference_words == 0 || hypothesis_words == 0) return {};
  std::vector<LcsMatcher> matchers;
  for (const auto& sentence : hypothesis) matchers.emplace_back(sentence);
  for (const auto& sentence : reference) {
    std::vector<bool> taken(sentence.size());
    for (LcsMatcher& matcher : matchers) {
      for (const int64_t position : matcher.Positions(sentence)) taken[position] = true;
    }
    for (size_t i = 0; i < sentence.size(); ++i) {
      if (!taken[i]) continue;
      int64_t &in_reference = left_reference[sentence[i]], &in_hypothesis = left_hypothesis[sentence[i]];
      if (in_reference <= 0 || in_hypothesis <= 0) continue;
      --in_reference, --in_hypothesis, ++hits;
    }
  }
  return FromCounts(hits, hypothesis_words, reference_words);
}

void KeepBetter(const PrecisionRecall& score, PrecisionRecall* best) {
  if (score.fmeasure > best->fmeasure) *best = score;
}

// Calls take(byte) with the ASCII letters and digits of the lower-cased text, and with ' ' for all else.
template <typename Take>
void LowerAscii(std::string_view text, Take take) {
  while (!text.empty()) {
    const unsigned char byte = text.front();
    if (byte < 0x80) {
      const bool upper = byte >= 'A' && byte <= 'Z', word = upper || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
      take(upper ? static_cast<char>(byte + 32) : word ? static_cast<char>(byte) : ' ');
      text.remove_prefix(1);
      continue;
    }
    const CodePoint point = ReadCodePoint(text);
    if (point.value == 0x212A) {  // the Kelvin sign, whose lower case is k
      take('k');
    } else if (point.value == 0x130) {  // I with a dot, whose lower case is i and a combining dot
      take('i');
      take(' ');
    } else {
      take(' ');
    }
    text.remove_prefix(point.length);
  }
}

}  // namespace

uint32_t RougeScorer::StemId(const std::string& word) {
  const auto found = known_.find(word);
  if (found != known_.end()) return found->second;
  if (known_.size() >= kMostKnownWords) known_.clear();  // stems keep their numbers
  return known_[word] = stems_.Id(word.size() > 3 ? PorterStem(word) : word);
}

std::vector<uint32_t> RougeScorer::Tokens(std::string_view text) {
  std::vector<uint32_t> tokens;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) tokens.push_back(StemId(word));
    word.clear();
  };
  LowerAscii(text, [&](char c) {
    if (c == ' ') {
      finish();
    } else {
      word += c;
    }
  });
  finish();
  return tokens;
}

std::vector<std::vector<uint32_t>> RougeScorer::Sentences(std::string_view text) {
  std::vector<std::vector<uint32_t>> sentences;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) sentences.push_back(Tokens(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return sentences;
}

RougeScores RougeScorer::Score(std::string_view reference, std::string_view hypothesis) {
  const auto reference_sentences = Sentences(reference), hypothesis_sentences = Sentences(hypothesis);
  std::vector<uint32_t> reference_words, hypothesis_words;  // a newline ends a word in either case
  for (const auto& s : reference_sentences) reference_words.insert(reference_words.end(), s.begin(), s.end());
  for (const auto& s : hypothesis_sentences) hypothesis_words.insert(hypothesis_words.end(), s.begin(), s.end());
  const Grams reference_grams(reference_words, 2, 32), hypothesis_grams(hypothesis_words, 2, 32);
  return {ScoreGrams(reference_grams, hypothesis_grams, 1), ScoreGrams(reference_grams, hypothesis_grams, 2),
          RougeL(reference_words, hypothesis_words), RougeLsum(reference_sentences, hypothesis_sentences)};
}

RougeScores RougeScorer::ScoreMulti(std::span<const std::string> references, std::string_view hypothesis) {
  RougeScores best = Score(references.front(), hypothesis);
  for (const std::string& reference : references.subspan(1)) {
    const RougeScores scores = Score(reference, hypothesis);
    KeepBetter(scores.rouge1, &best.rouge1);
    KeepBetter(scores.rouge2, &best.rouge2);
    KeepBetter(scores.rougeL, &best.rougeL);
    KeepBetter(scores.rougeLsum, &best.rougeLsum);
  }
  return best;
}

PrecisionRecall RougeN(std::span<const uint32_t> reference, std::span<const uint32_t> hypothesis, int n) {
  return ScoreGrams(Grams(reference, n, 32), Grams(hypothesis, n, 32), n);
}

}  // namespace precis::eval
