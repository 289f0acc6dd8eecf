#ifndef PRECIS_RUNTIME_MODEL_TENSOR_READER_H_
#define PRECIS_RUNTIME_MODEL_TENSOR_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "runtime/model/tensor_store.h"

namespace precis::runtime {

// What a matrix is packed into: a fixed type, or what the checkpoint's own type becomes.
struct PackTarget {
  std::optional<kernels::DType> dtype;  // unset: I8 stays int8, F16 and BF16 become bf16, F32 stays f32
  kernels::CpuIsa isa = kernels::CpuIsa::kPortable;
};

// Reads a store's tensors under the model's prefix, checked, as float vectors and packed matrices. Counts what it reads.
class TensorReader {
 public:
  TensorReader(const TensorStore& store, std::string prefix, PackTarget target, kernels::ThreadPool& pool)
      : store_(store), prefix_(std::move(prefix)), target_(target), pool_(pool) {}

  // A 1-D tensor of `size` numbers: F32, F16 or BF16.
  absl::StatusOr<std::vector<float>> Vector(std::string_view name, int64_t size);

  // A 2-D tensor: [in, out] or [out, in] by `layout`. I8 needs "<name>.scale", F32 of shape [out].
  absl::StatusOr<std::unique_ptr<kernels::PackedMatrix>> Matrix(std::string_view name, int64_t in, int64_t out,
                                                                kernels::WeightLayout layout);
  // Like Matrix, but never packed into int8 (a table that is only gathered from).
  absl::StatusOr<std::unique_ptr<kernels::PackedMatrix>> Table(std::string_view name, int64_t rows, int64_t size);

  // The same, of a tensor that has no prefix.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  std::string FullName(std::string_view name) const;

  int64_t parameters() const { return parameters_; }
  int64_t bytes() const { return bytes_; }

 private:
  absl::StatusOr<const TensorStore::Entry*> Find(const std::string& name, absl::Span<const int64_t> shape);
  absl::StatusOr<std::vector<float>> Scales(const std::string& name, int64_t out);
  absl::StatusOr<std::unique_ptr<kernels::PackedMatrix>> PackMatrix(const std::string& name, int64_t in, int64_t out,
                                                                    kernels::WeightLayout layout, PackTarget target);

  const TensorStore& store_;
  std::string prefix_;
  const PackTarget target_;
  kernels::ThreadPool& pool_;
  int64_t parameters_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_TENSOR_READER_H_
