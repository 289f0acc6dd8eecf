#ifndef PRECIS_KERNELS_ATTENTION_VARIANTS_FLASH_ALIBI_H_
#define PRECIS_KERNELS_ATTENTION_VARIANTS_FLASH_ALIBI_H_

#include <string_view>

#include "kernels/attention/policy.h"

namespace precis::kernels::variants {

struct FlashAlibi {
  static constexpr std::string_view kName = "flash_alibi";
  static constexpr std::string_view kDescription =
      "Tiled attention with linear biases (ALiBi) inside the tile; no position embeddings.";
  static constexpr Algorithm kAlgorithm = Algorithm::kTiled;
  static constexpr Positions kPositions = Positions::kAlibi;
  using Score = AlibiScore;
};

}  // namespace precis::kernels::variants

#endif  // PRECIS_KERNELS_ATTENTION_VARIANTS_FLASH_ALIBI_H_
