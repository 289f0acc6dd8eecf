#ifndef PRECIS_KERNELS_ATTENTION_VARIANTS_STANDARD_H_
#define PRECIS_KERNELS_ATTENTION_VARIANTS_STANDARD_H_

#include <string_view>

#include "kernels/attention/policy.h"

namespace precis::kernels::variants {

struct Standard {
  static constexpr std::string_view kName = "standard";
  static constexpr std::string_view kDescription =
      "Scores materialised, then softmax, then the weighted sum; learned positions.";
  static constexpr Algorithm kAlgorithm = Algorithm::kMaterialised;
  static constexpr Positions kPositions = Positions::kLearned;
  using Score = PlainScore;
};

}  // namespace precis::kernels::variants

#endif  // PRECIS_KERNELS_ATTENTION_VARIANTS_STANDARD_H_
