#include "runtime/model/gpu_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/model/half.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::DType;
using kernels::GpuType;

// Round to nearest even; NaN stays NaN.
uint16_t ToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

int64_t SizeOf(GpuType type) { return type == GpuType::kF32 ? 4 : type == GpuType::kBf16 ? 2 : 1; }

// The integers that `row` is multiples of `scale` of: those of the checkpoint, or of the packing.
void ToIntegers(const float* row, int64_t size, float scale, char* to) {
  for (int64_t i = 0; i < size; ++i) to[i] = static_cast<char>(scale > 0 ? std::clamp(std::lround(row[i] / scale), -128l, 127l) : 0);
}

class Uploader {
 public:
  Uploader(GpuType activations, kernels::GpuDevice* device, kernels::Stream stream, GpuMemory* memory)
      : activations_(activations), device_(device), stream_(stream), memory_(memory) {}

  GpuType TypeOf(const kernels::PackedMatrix& matrix) const {
    if (activations_ == GpuType::kF32) return GpuType::kF32;
    return matrix.dtype() == DType::kI8 ? GpuType::kI8 : GpuType::kBf16;
  }

  absl::Status Matrix(const kernels::PackedMatrix& from, GpuType type, GpuMatrix* to) {
    const int64_t row_bytes = from.in() * SizeOf(type);
    std::vector<char> bytes(from.out() * row_bytes);
    std::vector<float> row(from.in()), scales(type == GpuType::kI8 ? from.out() : 0);
    for (int64_t i = 0; i < from.out(); ++i) {
      from.CopyOutputRow(i, row.data());
      char* target = bytes.data() + i * row_bytes;
      if (type == GpuType::kF32) std::memcpy(target, row.data(), row_bytes);
      if (type == GpuType::kI8) ToIntegers(row.data(), from.in(), scales[i] = from.OutputScale(i), target);
      if (type != GpuType::kBf16) continue;
      for (int64_t j = 0; j < from.in(); ++j) {
        const uint16_t bits = ToBf16(row[j]);
        std::memcpy(target + 2 * j, &bits, 2);
      }
    }
    to->type = type;
    to->in = static_cast<int>(from.in());
    to->out = static_cast<int>(from.out());
    PRECIS_ASSIGN(to->data, Copy(bytes.data(), bytes.size()));
    if (type == GpuType::kI8) PRECIS_TRY(Floats(scales, &to->scale));
    return absl::OkStatus();
  }

  absl::Status Floats(const std::vector<float>& from, const float** to) {
    PRECIS_ASSIGN(const char* copy, Copy(from.data(), from.size() * sizeof(float)));
    *to = reinterpret_cast<const float*>(copy);
    return absl::OkStatus();
  }
  absl::Status Norm(const NormWeights& from, GpuNorm* to) {
    PRECIS_TRY(Floats(from.gain, &to->gain));
    return Floats(from.bias, &to->bias);
  }
  absl::Status Linear(const LinearWeights& from, GpuLinear* to) {
    PRECIS_TRY(Matrix(*from.matrix, TypeOf(*from.matrix), &to->matrix));
    PRECIS_TRY(Floats(from.bias, &to->bias));
    if (activations_ == GpuType::kF32) return absl::OkStatus();
    std::vector<uint16_t> rounded(from.bias.size());
    std::transform(from.bias.begin(), from.bias.end(), rounded.begin(), ToBf16);
    PRECIS_ASSIGN(to->bias_bf16, Copy(rounded.data(), rounded.size() * sizeof(uint16_t)));
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<const char*> Copy(const void* from, int64_t bytes) {
    PRECIS_ASSIGN(char* to, memory_->Allocate(bytes, "the weights"));
    device_->CopyToDevice(to, from, bytes, stream_);
    PRECIS_TRY(device_->Synchronize(stream_));  // the source goes away
    return static_cast<const char*>(to);
  }

  const GpuType activations_;
  kernels::GpuDevice* const device_;
  const kernels::Stream stream_;
  GpuMemory* const memory_;
};

absl::Status UploadLayer(Uploader& uploader, const LayerWeights& from, GpuLayer* to) {
  PRECIS_TRY(uploader.Norm(from.attention_norm, &to->attention_norm));
  PRECIS_TRY(uploader.Linear(from.qkv, &to->qkv));
  PRECIS_TRY(uploader.Linear(from.attention_out, &to->attention_out));
  PRECIS_TRY(uploader.Norm(from.mlp_norm, &to->mlp_norm));
  PRECIS_TRY(uploader.Linear(from.mlp_in, &to->mlp_in));
  return uploader.Linear(from.mlp_out, &to->mlp_out);
}

absl::Status Named(const absl::Status& status, int64_t bytes, const char* what) {
  return absl::Status(status.code(), Cat("no memory for ", what, " (", bytes, " bytes): ", status.message(),
                                         ". Give a smaller --kv-cache-bytes or --max-step-tokens, or use a device with more memory"));
}

}  // namespace

GpuMemory::~GpuMemory() {
  for (void* block : device_blocks_) device_->Free(block);
  for (void* block : pinned_blocks_) device_->FreePinned(block);
}

absl::StatusOr<char*> GpuMemory::Allocate(int64_t bytes, const char* what) {
  absl::StatusOr<void*> block = device_->Allocate(bytes);
  if (!block.ok()) return Named(block.status(), bytes, what);
  device_blocks_.push_back(*block);
  bytes_ += bytes;
  return static_cast<char*>(*block);
}

absl::StatusOr<char*> GpuMemory::AllocatePinned(int64_t bytes, const char* what) {
  absl::StatusOr<void*> block = device_->AllocatePinned(bytes);
  if (!block.ok()) return Named(block.status(), bytes, what);
  pinned_blocks_.push_back(*block);
  pinned_bytes_ += bytes;
  return static_cast<char*>(*block);
}

absl::StatusOr<GpuWeights> UploadWeights(const Gpt2Weights& weights, kernels::GpuDevice* device, kernels::Stream stream, GpuMemory* memory) {
  GpuWeights result;
  result.activation_type = weights.dtype == DType::kF32 ? GpuType::kF32 : GpuType::kBf16;
  Uploader uploader(result.activation_type, device, stream, memory);
  const GpuType table = uploader.TypeOf(weights.embedding());
  PRECIS_TRY(uploader.Matrix(weights.embedding(), table, &result.embedding));
  result.head = result.embedding;
  if (weights.separate_embedding) PRECIS_TRY(uploader.Matrix(*weights.head, uploader.TypeOf(*weights.head), &result.head));
  if (weights.positions) PRECIS_TRY(uploader.Matrix(*weights.positions, table, &result.positions));
  result.layers.resize(weights.layers.size());
  for (size_t i = 0; i < weights.layers.size(); ++i) PRECIS_TRY(UploadLayer(uploader, weights.layers[i], &result.layers[i]));
  PRECIS_TRY(uploader.Norm(weights.final_norm, &result.final_norm));
  return result;
}

}  // namespace precis::runtime
