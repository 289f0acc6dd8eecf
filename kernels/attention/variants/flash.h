#ifndef PRECIS_KERNELS_ATTENTION_VARIANTS_FLASH_H_
#define PRECIS_KERNELS_ATTENTION_VARIANTS_FLASH_H_

#include <string_view>

#include "kernels/attention/policy.h"

namespace precis::kernels::variants {

struct Flash {
  static constexpr std::string_view kName = "flash";
  static constexpr std::string_view kDescription =
      "Tiled attention with online softmax, never a whole score matrix; learned positions.";
  static constexpr Algorithm kAlgorithm = Algorithm::kTiled;
  static constexpr Positions kPositions = Positions::kLearned;
  using Score = PlainScore;
};

}  // namespace precis::kernels::variants

#endif  // PRECIS_KERNELS_ATTENTION_VARIANTS_FLASH_H_
