#ifndef PRECIS_RUNTIME_MODEL_SAFETENSORS_HEADER_H_
#define PRECIS_RUNTIME_MODEL_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/safetensors.h"

namespace precis::runtime {

// What the header says of one tensor, before it is checked against the file.
struct TensorEntry {
  std::string name;
  TensorDType dtype = TensorDType::kF32;
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0;
};

// The entries of the JSON header, read as a stream: nothing of the wrong form is ever stored. Errors don't name the file.
absl::StatusOr<std::vector<TensorEntry>> ParseSafetensorsHeader(std::string_view json);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_SAFETENSORS_HEADER_H_
