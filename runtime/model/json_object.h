#ifndef PRECIS_RUNTIME_MODEL_JSON_OBJECT_H_
#define PRECIS_RUNTIME_MODEL_JSON_OBJECT_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "runtime/model/safetensors.h"
#include "runtime/model/text.h"

namespace precis::runtime {

// Nesting that files of ours never reach; bounds what a parsed document costs in memory.
inline constexpr int kMaxJsonDepth = 32;

inline absl::Status JsonError(std::string_view file_name, std::string_view what) {
  return absl::InvalidArgumentError(Cat(file_name, ": ", what));
}

// `json` as an object. Refuses what is no JSON, no object, nested too deeply, or has a top-level key twice.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view json, std::string_view file_name);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_JSON_OBJECT_H_
