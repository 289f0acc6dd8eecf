#ifndef PRECIS_TESTS_GPU_SUPPORT_ATTENTION_CASE_H_
#define PRECIS_TESTS_GPU_SUPPORT_ATTENTION_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gpu/gpu_ops.h"
#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {

struct AttentionShape {
  std::vector<int> queries;   // rows of each sequence
  std::vector<int> contexts;  // keys of each sequence, its rows included
  int heads = 12;
  int head_dim = 64;
  bool alibi = false;
  uint32_t seed = 1;
  float spread = 1.0f;  // of queries and keys: large values make sharp distributions
};

// Slopes of Press et al. 2022 for any number of heads.
std::vector<float> AlibiSlopes(int heads);

// A batch on the device in bf16: packed qkv activations, a paged cache in which pages lie in random order among others that hold NaN, as do the unwritten
// slots, and a poisoned output.
class AttentionCase {
 public:
  explicit AttentionCase(const AttentionShape& shape);

  kernels::GpuAttentionArgs Args() const;
  const AttentionShape& shape() const { return shape_; }
  int rows() const { return rows_; }
  int width() const { return shape_.heads * shape_.head_dim; }
  const DeviceArray<uint16_t>& output() const { return output_; }
  const DeviceArray<float>& log_sum_exp() const { return log_sum_exp_; }
  const DeviceArray<float>& slopes() const { return slopes_; }
  const std::vector<int32_t>& host_table() const { return table_host_; }
  void PoisonOutput() const;
  // Floating-point operations as the FlashAttention papers count them: 4 * head_dim for each pair of a row and a key that it sees, all heads.
  double Flops() const;

 private:
  void FillCache(std::vector<uint16_t>& arena, int64_t part_elements, int64_t page_elements) const;

  AttentionShape shape_;
  int rows_ = 0;
  int pages_ = 0;
  int table_stride_ = 0;
  std::vector<uint16_t> qkv_host_;
  std::vector<int32_t> table_host_;
  DeviceArray<uint16_t> qkv_, arena_, output_;
  DeviceArray<float> log_sum_exp_, slopes_;
  DeviceArray<int32_t> begin_, count_, context_, table_;
};

// Part of a case's rows as a batch of its own: rows first .. first + count - 1 of a sequence, with the keys up to the last of them.
struct Slice {
  int sequence;
  int first;
  int count;
};
class SlicedBatch {
 public:
  SlicedBatch(const AttentionCase& attention, const std::vector<Slice>& slices);
  const kernels::GpuAttentionArgs& args() const { return args_; }

 private:
  kernels::GpuAttentionArgs args_;
  DeviceArray<int32_t> begin_, count_, context_, table_;
};

// Computed on the device by plain kernels. reference: float64 throughout. standard: what a materialised attention in bf16 gives (scaled operands, scores,
// probabilities and output rounded to bf16, float32 in between), the yardstick of the error gate.
struct AttentionReference {
  std::vector<double> reference;      // [rows][width]
  std::vector<uint16_t> standard;     // [rows][width]
  std::vector<double> log_sum_exp;    // [heads][rows]
};
AttentionReference ComputeReference(const AttentionCase& attention);

// The gate: max|out - ref| <= 2 max|std - ref| + 2 max|round(ref) - ref| and mean|out - ref| <= 1.5 mean|std - ref|.
struct GateResult {
  bool passed = false;
  double max_error = 0, max_allowed = 0, mean_error = 0, mean_allowed = 0;
  size_t worst = 0;
  std::string Text() const;
};
GateResult ApplyGate(const std::vector<uint16_t>& output, const AttentionReference& reference);

float FromBf16(uint16_t bits);
uint16_t RoundToBf16(float value);

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_ATTENTION_CASE_H_
