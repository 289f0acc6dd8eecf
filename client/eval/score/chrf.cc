#include "client/eval/score/chrf.h"

#include <vector>

#include "client/eval/score/grams.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

constexpr int kOrder = 6, kBits = 21;

Grams CharacterGrams(std::string_view text) {
  std::vector<uint32_t> symbols;
  symbols.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = ReadCodePoint(text);
    if (!IsSpace(point.value)) symbols.push_back(static_cast<uint32_t>(point.value) + 1);
    text.remove_prefix(point.length);
  }
  return Grams(symbols, kOrder, kBits);
}

}  // namespace

ChrfCounts& ChrfCounts::operator+=(const ChrfCounts& other) {
  for (int i = 0; i < kOrder; ++i) {
    orders[i].hypothesis += other.orders[i].hypothesis;
    orders[i].reference += other.orders[i].reference;
    orders[i].matches += other.orders[i].matches;
  }
  return *this;
}

ChrfCounts CountChrf(std::span<const std::string> references, std::string_view hypothesis) {
  const Grams grams = CharacterGrams(hypothesis);
  std::array<GramCounts, kOrder> counted;
  for (int n = 1; n <= kOrder; ++n) counted[n - 1] = grams.Counts(n);
  ChrfCounts best;
  double best_score = -1;
  for (const std::string& reference : references) {
    const Grams reference_grams = CharacterGrams(reference);
    ChrfCounts counts;
    for (int n = 1; n <= kOrder; ++n) {
      ChrfCounts::Order& order = counts.orders[n - 1];
      order.reference = reference_grams.Total(n);
      order.hypothesis = order.reference > 0 ? grams.Total(n) : 0;  // no hits to miss where the reference is too short
      order.matches = CountMatches(counted[n - 1], reference_grams.Counts(n));
    }
    const double score = Chrf(counts);
    if (score > best_score) {
      best_score = score;
      best = counts;
    }
  }
  return best;
}

double Chrf(const ChrfCounts& counts) {
  constexpr double kBetaSquared = 4;
  double precision = 0, recall = 0;
  int effective = 0;
  for (const ChrfCounts::Order& order : counts.orders) {
    if (order.hypothesis == 0 || order.reference == 0) continue;
    precision += static_cast<double>(order.matches) / static_cast<double>(order.hypothesis);
    recall += static_cast<double>(order.matches) / static_cast<double>(order.reference);
    ++effective;
  }
  if (effective == 0 || precision + recall == 0) return 0;
  precision /= effective;
  recall /= effective;
  return 100 * (1 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

}  // namespace precis::eval
