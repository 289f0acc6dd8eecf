#ifndef PRECIS_RUNTIME_MODEL_SAFETENSORS_H_
#define PRECIS_RUNTIME_MODEL_SAFETENSORS_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace precis::runtime {

// Element types that safetensors files name.
enum class TensorDType : uint8_t {
  kBool, kU8, kI8, kF8E4M3, kF8E5M2, kI16, kU16, kF16, kBf16, kI32, kU32, kF32, kI64, kU64, kF64
};
std::string_view TensorDTypeName(TensorDType dtype);  // as in the file: "F32"
int TensorDTypeBytes(TensorDType dtype);

inline constexpr int kMaxTensorRank = 8;

// One tensor; its elements lie in the file's bytes and may be unaligned.
struct TensorView {
  TensorDType dtype = TensorDType::kF32;
  int rank = 0;
  std::array<int64_t, kMaxTensorRank> dims = {};
  const char* data = nullptr;
  int64_t bytes = 0;

  absl::Span<const int64_t> shape() const { return {dims.data(), static_cast<size_t>(rank)}; }
  int64_t elements() const { return bytes / TensorDTypeBytes(dtype); }
};
std::string ShapeName(absl::Span<const int64_t> shape);  // "[2, 3]"

using TensorMap = std::map<std::string, TensorView, std::less<>>;

// Limits that keep what the header costs in memory near the header's own size.
inline constexpr int64_t kMaxSafetensorsHeaderBytes = int64_t{16} << 20;
inline constexpr int64_t kMaxSafetensorsTensors = 65536;

// The tensors of a safetensors file given as its bytes, which must outlive the views. Checked, so that every
// view lies inside `file`: header length, JSON, duplicate names and keys, dtypes, shapes (products without
// overflow), offsets (sizes match, no gap, no overlap, nothing missing or left over at the end).
// INVALID_ARGUMENT starts with `file_name` and names the tensor. Allocates O(header) whatever the header says.
absl::StatusOr<TensorMap> ParseSafetensors(std::string_view file, std::string_view file_name);

// A name from a file, cut and escaped for an error message.
std::string Printable(std::string_view text);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_SAFETENSORS_H_
