#ifndef PRECIS_KERNELS_ATTENTION_KINDS_H_
#define PRECIS_KERNELS_ATTENTION_KINDS_H_

#include <cstdint>

namespace precis::kernels {

// Whether the scores of a sequence are written out whole, or tile by tile with an online softmax.
enum class Algorithm : uint8_t { kMaterialised, kTiled };
// How a model tells positions: embeddings added to the input, or linear biases (ALiBi) on the scores.
enum class Positions : uint8_t { kLearned, kAlibi };

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_ATTENTION_KINDS_H_
