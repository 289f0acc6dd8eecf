#include "client/eval/score/extractive.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "client/eval/score/grams.h"

namespace precis::eval {

std::vector<Span> CopiedSpans(std::span<const uint32_t> source, std::span<const uint32_t> summary, int64_t least) {
  absl::flat_hash_map<uint32_t, std::vector<size_t>> places;
  for (const uint32_t word : summary) places[word];
  for (size_t i = 0; i < source.size(); ++i) {
    const auto found = places.find(source[i]);
    if (found != places.end()) found->second.push_back(i);
  }
  std::vector<Span> spans;
  for (size_t i = 0; i < summary.size();) {
    size_t best = 0;
    for (const size_t place : places[summary[i]]) {
      // A longer match must agree where the best one so far ended.
      if (best > 0 && (i + best >= summary.size() || place + best >= source.size() || source[place + best] != summary[i + best])) continue;
      size_t length = 0;
      while (i + length < summary.size() && place + length < source.size() && source[place + length] == summary[i + length]) ++length;
      best = std::max(best, length);
    }
    if (static_cast<int64_t>(best) >= least && best > 0) spans.push_back({static_cast<int64_t>(i), static_cast<int64_t>(best)});
    i += std::max<size_t>(best, 1);
  }
  return spans;
}

Extractive CompareWithSource(std::span<const uint32_t> source, std::span<const uint32_t> summary) {
  Extractive result;
  if (summary.empty()) return result;
  const Grams source_grams(source, 4, 32), summary_grams(summary, 4, 32);
  for (int n = 1; n <= 4; ++n) {
    const GramCounts of_summary = summary_grams.Counts(n);
    if (of_summary.empty()) continue;
    const auto shared = static_cast<double>(CountShared(of_summary, source_grams.Counts(n)));
    result.novelty[n - 1] = 1 - shared / static_cast<double>(of_summary.size());
  }
  const auto words = static_cast<double>(summary.size());
  result.compression = static_cast<double>(source.size()) / words;
  const std::vector<Span> spans = CopiedSpans(source, summary);
  double covered = 0;
  for (const Span& span : spans) {
    covered += static_cast<double>(span.length);
    result.density += static_cast<double>(span.length * span.length) / words;
    result.longest_span = std::max(result.longest_span, span.length);
  }
  result.coverage = covered / words;
  if (!spans.empty()) result.mean_span = covered / static_cast<double>(spans.size());
  return result;
}

Repetition CountRepetition(std::span<const uint32_t> summary) {
  Repetition repetition = {};
  const Grams grams(summary, 4, 32);
  for (int n = 1; n <= 4; ++n) {
    if (grams.Total(n) == 0) continue;
    repetition[n - 1] = 1 - static_cast<double>(grams.Counts(n).size()) / static_cast<double>(grams.Total(n));
  }
  return repetition;
}

}  // namespace precis::eval
