#include "client/eval/score/baselines.h"

#include <algorithm>

#include "client/eval/score/rouge.h"
#include "client/eval/text/words.h"

namespace precis::eval {
namespace {

constexpr size_t kMostSentences = 200;

std::string Join(const std::vector<std::string_view>& sentences) {
  std::string text;
  for (const std::string_view sentence : sentences) {
    if (!text.empty()) text += '\n';
    text += sentence;
  }
  return text;
}

}  // namespace

std::string Lead(std::string_view document, int count) {
  // Enough for any three sentences; a document may have megabytes.
  auto sentences = SplitSentences(document.substr(0, std::min<size_t>(document.size(), 200'000)));
  if (sentences.size() > static_cast<size_t>(count)) sentences.resize(count);
  return Join(sentences);
}

std::string Oracle(std::string_view document, const std::vector<std::string>& references, int most) {
  auto sentences = SplitSentences(document.substr(0, std::min<size_t>(document.size(), 1'000'000)));
  if (sentences.size() > kMostSentences) sentences.resize(kMostSentences);
  RougeScorer scorer;
  std::vector<std::vector<uint32_t>> words, targets;
  for (const std::string_view sentence : sentences) words.push_back(scorer.Tokens(sentence));
  for (const std::string& reference : references) targets.push_back(scorer.Tokens(reference));
  std::vector<size_t> taken;
  double best = 0;
  const auto score = [&](std::vector<size_t> chosen) {
    std::sort(chosen.begin(), chosen.end());
    std::vector<uint32_t> text;
    for (const size_t i : chosen) text.insert(text.end(), words[i].begin(), words[i].end());
    double highest = 0;
    for (const auto& target : targets) highest = std::max(highest, (RougeN(target, text, 1).fmeasure + RougeN(target, text, 2).fmeasure) / 2);
    return highest;
  };
  while (taken.size() < static_cast<size_t>(most)) {
    size_t pick = sentences.size();
    for (size_t i = 0; i < sentences.size(); ++i) {
      if (std::find(taken.begin(), taken.end(), i) != taken.end()) continue;
      std::vector<size_t> chosen = taken;
      chosen.push_back(i);
      const double value = score(std::move(chosen));
      if (value > best) {
        best = value;
        pick = i;
      }
    }
    if (pick == sentences.size()) break;
    taken.push_back(pick);
  }
  std::sort(taken.begin(), taken.end());
  std::vector<std::string_view> chosen;
  for (const size_t i : taken) chosen.push_back(sentences[i]);
  return Join(chosen);
}

std::string SentencePerLine(std::string_view text) {
  return text.find('\n') != text.npos ? std::string(text) : Join(SplitSentences(text));
}

}  // namespace precis::eval
