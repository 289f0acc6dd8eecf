// The input is a safetensors file. What is accepted must lie inside it, and be readable to its last byte.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "runtime/model/safetensors.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

void CheckView(const precis::runtime::TensorView& view, std::string_view file) {
  Require(view.data >= file.data() && view.bytes >= 0, "a tensor starts before the file");
  Require(view.data + view.bytes <= file.data() + file.size(), "a tensor ends after the file");
  Require(view.rank <= precis::runtime::kMaxTensorRank, "too many dimensions");
  int64_t elements = 1;
  for (int64_t dim : view.shape()) {
    Require(dim >= 0, "a dimension is negative");
    elements = dim == 0 ? 0 : elements * (elements == 0 ? 1 : dim);
  }
  Require(elements == view.elements(), "shape and bytes differ");
  volatile unsigned sum = 0;
  for (int64_t i = 0; i < view.bytes; ++i) sum = sum + static_cast<unsigned char>(view.data[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  const auto tensors = precis::runtime::ParseSafetensors(file, "fuzz");
  if (!tensors.ok()) {
    Require(tensors.status().code() == absl::StatusCode::kInvalidArgument, "another code than INVALID_ARGUMENT");
    return 0;
  }
  int64_t total = 0;
  for (const auto& [name, view] : *tensors) {
    CheckView(view, file);
    total += view.bytes;
  }
  Require(total <= static_cast<int64_t>(size), "tensors share bytes");
  return 0;
}
