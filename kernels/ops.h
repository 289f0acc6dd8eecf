#ifndef PRECIS_KERNELS_OPS_H_
#define PRECIS_KERNELS_OPS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/thread_pool.h"

namespace precis::kernels {

enum class Activation : uint8_t { kNone, kGeluTanh, kGeluErf, kRelu, kSilu, kQuickGelu };

// Where a weight matrix lies as the checkpoint has it.
enum class WeightLayout : uint8_t {
  kInOut,  // [in][out]: GPT-2's Conv1D
  kOutIn,  // [out][in]: nn.Linear, embeddings used as the head
};

// Element types of weights in checkpoints.
enum class SourceDType : uint8_t { kF32, kF16, kBf16, kI8 };

struct WeightSource {
  const void* data = nullptr;
  SourceDType dtype = SourceDType::kF32;
  WeightLayout layout = WeightLayout::kInOut;
  int64_t in = 0;
  int64_t out = 0;
  const float* scale = nullptr;  // [out], with kI8 only: weight = value * scale[out]
};

// A weight matrix packed for the CPU kernels: read once per product, at the machine's bandwidth.
// y = activation(x W + bias) (+ residual). Every output row depends on its own input row alone, with one order of operations for
// every number of rows, so results don't depend on the batch. Thread-safe for reading.
class PackedMatrix {
 public:
  // Packs into `dtype` for `isa`; converts as needed. `pool` may be used by nobody else during the call.
  static absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(const WeightSource& source, DType dtype,
                                                            CpuIsa isa, ThreadPool& pool);
  virtual ~PackedMatrix() = default;

  struct Args {
    const float* x = nullptr;  // [rows][in], x_stride floats apart
    int64_t x_stride = 0;
    float* y = nullptr;  // [rows][out], y_stride floats apart; may not overlap x
    int64_t y_stride = 0;
    int64_t rows = 0;
    const float* bias = nullptr;  // [out] or null
    Activation activation = Activation::kNone;
    bool accumulate = false;  // y += instead of y = (the residual connection); after the activation
  };
  virtual void Multiply(const Args& args, ThreadPool& pool) const = 0;

  // Writes the weights of one output (a row of an embedding), as float, to row[0..in).
  virtual void CopyOutputRow(int64_t output, float* row) const = 0;
  // What the integers of that output are multiplied by; 1 but for kI8.
  virtual float OutputScale(int64_t output) const = 0;

  virtual int64_t in() const = 0;
  virtual int64_t out() const = 0;
  virtual int64_t bytes() const = 0;
  virtual DType dtype() const = 0;
};

// y[r] = (x[r] - mean) / sqrt(var + epsilon) * gain + bias, rows of `size` floats, packed.
void LayerNorm(const float* x, const float* gain, const float* bias, float epsilon, int64_t rows,
               int64_t size, float* y, CpuIsa isa, ThreadPool& pool);

// Index of the largest value; the lowest index among equals; NaN is never chosen unless all are.
int64_t ArgMax(absl::Span<const float> values, CpuIsa isa);

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_OPS_H_
