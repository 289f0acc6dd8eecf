#include "client/eval/score/pair_scorer.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "client/eval/text/unicode.h"
#include "client/eval/text/words.h"

namespace precis::eval {
namespace {

TextLength LengthOf(std::string_view text, size_t words) {
  return {static_cast<int64_t>(words), static_cast<int64_t>(SplitSentences(text).size()), CountCodePoints(text)};
}

std::vector<uint32_t> Ids(const std::vector<Word>& words, Vocabulary* vocabulary) {
  std::vector<uint32_t> ids;
  ids.reserve(words.size());
  for (const Word& word : words) ids.push_back(vocabulary->Id(word.lower));
  return ids;
}

}  // namespace

PairScores PairScorer::Score(const Pair& pair, bool rouge_only) {
  PairScores scores;
  scores.rouge = rouge_.ScoreMulti(pair.references, pair.hypothesis);
  if (rouge_only) return scores;
  scores.bleu = CountBleu(pair.references, pair.hypothesis);
  scores.chrf = CountChrf(pair.references, pair.hypothesis);
  scores.nltk_bleu = SentenceBleu(pair.references, pair.hypothesis);
  const std::vector<Word> words = SplitWords(pair.hypothesis);
  Vocabulary vocabulary;
  const std::vector<uint32_t> ids = Ids(words, &vocabulary);
  scores.hypothesis = LengthOf(pair.hypothesis, words.size());
  scores.reference = LengthOf(pair.references.front(), SplitWords(pair.references.front()).size());
  scores.repetition = CountRepetition(ids);
  if (!pair.source.empty()) {
    const std::vector<Word> source = SplitWords(pair.source);
    scores.extractive = CompareWithSource(Ids(source, &vocabulary), ids);
    scores.faithfulness = CheckFaithfulness(source, words);
  }
  return scores;
}

std::vector<PairScores> ScorePairs(std::span<const Pair> pairs, int threads) {
  std::vector<PairScores> scores(pairs.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    PairScorer scorer;
    constexpr size_t kChunk = 16;
    for (size_t begin = next.fetch_add(kChunk); begin < pairs.size(); begin = next.fetch_add(kChunk)) {
      for (size_t i = begin; i < std::min(begin + kChunk, pairs.size()); ++i) scores[i] = scorer.Score(pairs[i]);
    }
  };
  std::vector<std::thread> workers;
  for (int i = 1; i < threads; ++i) workers.emplace_back(work);
  work();
  for (std::thread& worker : workers) worker.join();
  return scores;
}

}  // namespace precis::eval
