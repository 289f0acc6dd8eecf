#include <cmath>

#include "absl/strings/str_join.h"
#include "kernels/attention.h"
#include "kernels/attention/variants.h"

namespace precis::kernels {
namespace {

template <class... Variants>
absl::Span<const AttentionVariant> Describe(variants::List<Variants...>) {
  static constexpr AttentionVariant kVariants[] = {
      {Variants::kName, Variants::kDescription, Variants::kAlgorithm, Variants::kPositions}...};
  return kVariants;
}

// Slopes for a power of two: 2^(-8k/n), k = 1..n.
float PowerOfTwoSlope(int k, int n) { return static_cast<float>(std::exp2(-8.0 * k / n)); }

}  // namespace

std::string_view AlgorithmName(Algorithm algorithm) {
  return algorithm == Algorithm::kTiled ? "tiled" : "materialised";
}

std::string_view PositionsName(Positions positions) {
  return positions == Positions::kAlibi ? "alibi" : "learned";
}

absl::Span<const AttentionVariant> AttentionVariants() { return Describe(variants::All()); }

const AttentionVariant* FindAttentionVariant(std::string_view name) {
  for (const AttentionVariant& variant : AttentionVariants()) {
    if (variant.name == name) return &variant;
  }
  return nullptr;
}

std::string AttentionVariantNames() {
  return absl::StrJoin(AttentionVariants(), ", ", [](std::string* out, const AttentionVariant& variant) {
    out->append(variant.name.data(), variant.name.size());
  });
}

std::vector<float> AlibiSlopes(int heads) {
  std::vector<float> slopes;
  if (heads <= 0) return slopes;
  int power = 1;
  while (power * 2 <= heads) power *= 2;
  for (int k = 1; k <= power; ++k) slopes.push_back(PowerOfTwoSlope(k, power));
  // The heads that are left take every second slope of the next power.
  for (int k = 1; static_cast<int>(slopes.size()) < heads; k += 2) {
    slopes.push_back(PowerOfTwoSlope(k, 2 * power));
  }
  return slopes;
}

}  // namespace precis::kernels
