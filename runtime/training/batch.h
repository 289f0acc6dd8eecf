#ifndef PRECIS_RUNTIME_TRAINING_BATCH_H_
#define PRECIS_RUNTIME_TRAINING_BATCH_H_

#include <cstdint>
#include <vector>

namespace precis::runtime {

// Documents packed one after the other. Row r predicts targets[r]; a row sees only the rows before it of its own document.
struct Batch {
  std::vector<int32_t> tokens, positions, targets;  // [rows]
  std::vector<float> weights;                       // [rows]: of each row's loss
  std::vector<uint8_t> in_summary;                  // [rows]: whether the target is a token of the summary
  std::vector<int32_t> begin, length;               // [documents]
  int padding = 0;  // rows at the end that are no document's: their weights are 0
  int rows() const { return static_cast<int>(tokens.size()); }
  double weight() const {
    double sum = 0;
    for (float w : weights) sum += w;
    return sum;
  }
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_BATCH_H_
