#ifndef PRECIS_KERNELS_ATTENTION_VARIANTS_STANDARD_ALIBI_H_
#define PRECIS_KERNELS_ATTENTION_VARIANTS_STANDARD_ALIBI_H_

#include <string_view>

#include "kernels/attention/policy.h"

namespace precis::kernels::variants {

struct StandardAlibi {
  static constexpr std::string_view kName = "standard_alibi";
  static constexpr std::string_view kDescription =
      "Scores materialised with linear biases (ALiBi); no position embeddings.";
  static constexpr Algorithm kAlgorithm = Algorithm::kMaterialised;
  static constexpr Positions kPositions = Positions::kAlibi;
  using Score = AlibiScore;
};

}  // namespace precis::kernels::variants

#endif  // PRECIS_KERNELS_ATTENTION_VARIANTS_STANDARD_ALIBI_H_
