#ifndef PRECIS_RUNTIME_MODEL_EDIT_LIST_H_
#define PRECIS_RUNTIME_MODEL_EDIT_LIST_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "runtime/sampling/sampler.h"

namespace precis::runtime {

// What SampleToken does to logits before it chooses, as a list of token ids for a device's sampler: an id with bit 31 set is penalised, once; a plain id is
// banned.
class EditList {
 public:
  // Appends the edits of a row. False, with nothing appended, if they are more than `limit`: such a row is the host's.
  bool Append(const SamplingContext& context, int vocabulary, size_t limit, std::vector<int32_t>* edits);

 private:
  std::vector<uint32_t> seen_;  // [vocabulary]: the call in which the id was last seen
  uint32_t call_ = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_EDIT_LIST_H_
