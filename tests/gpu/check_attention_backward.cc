// Gradients of attention: every engine against the plain kernels in float32 on the same inputs, and bit for bit from run to run.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/gpu/train_ops.h"
#include "tests/gpu/check.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/gpu_model.h"

namespace precis::gpu_test {
namespace {

std::vector<float> Widen(const std::vector<uint16_t>& half) {
  std::vector<float> wide(half.size());
  for (size_t i = 0; i < half.size(); ++i) wide[i] = FromBf16(half[i]);
  return wide;
}

// The sequences of a shape with what the forward pass left, and gradients of the output.
class Problem {
 public:
  explicit Problem(const AttentionShape& shape)
      : attention_(shape), forward_(attention_.Args()), rows_(attention_.rows()), width_(attention_.width()),
        d_output_host_(RandomBf16(static_cast<size_t>(rows_) * width_, 9, 1)), d_output_(d_output_host_) {
    CudaOps().flash_prefill(forward_, {nullptr});
    PRECIS_REQUIRE(cudaDeviceSynchronize());
    std::vector<int32_t> begin;
    int row = 0;
    for (const int length : shape.queries) {
      begin.push_back(row);
      row += length;
      longest_ = std::max(longest_, length);
    }
    begin_ = DeviceArray<int32_t>(begin);
    length_ = DeviceArray<int32_t>(std::vector<int32_t>(shape.queries.begin(), shape.queries.end()));
  }

  std::vector<uint16_t> Run(int compute_major, bool deterministic) const {
    const DeviceArray<uint16_t> d_qkv(static_cast<size_t>(rows_) * 3 * width_);
    d_qkv.Poison();
    Launch(compute_major, forward_.qkv, attention_.output().get(), d_output_.get(), d_qkv.get(), kernels::GpuType::kBf16, deterministic);
    return d_qkv.Get();
  }

  std::vector<float> Reference() const {
    std::vector<uint16_t> qkv(static_cast<size_t>(rows_) * 3 * width_);
    PRECIS_REQUIRE(cudaMemcpy(qkv.data(), forward_.qkv, qkv.size() * 2, cudaMemcpyDeviceToHost));
    const DeviceArray<float> wide(Widen(qkv)), output(Widen(attention_.output().Get())), d_output(Widen(d_output_host_)), d_qkv(qkv.size());
    Launch(8, wide.get(), output.get(), d_output.get(), d_qkv.get(), kernels::GpuType::kF32, true);
    return d_qkv.Get();
  }

  // Errors of dQ, dK and dV by norm.
  Outcome Compare(const std::vector<uint16_t>& got) const {
    const std::vector<float> reference = Reference();
    double error[3] = {}, size[3] = {};
    for (size_t i = 0; i < reference.size(); ++i) {
      const int part = static_cast<int>(i / width_ % 3);
      const double difference = FromBf16(got[i]) - reference[i];
      error[part] += difference * difference;
      size[part] += double{reference[i]} * reference[i];
    }
    bool passed = true;
    for (int part = 0; part < 3; ++part) {
      error[part] = std::sqrt(error[part] / (size[part] > 0 ? size[part] : 1));
      passed = passed && error[part] <= 8e-3;
    }
    char text[160];
    std::snprintf(text, sizeof(text), "relative errors of dQ %.2g, dK %.2g, dV %.2g (<= 8e-03)", error[0], error[1], error[2]);
    return {passed, false, text};
  }

 private:
  void Launch(int compute_major, const void* qkv, const void* output, const void* d_output, void* d_qkv, kernels::GpuType type, bool deterministic) const {
    const kernels::GpuTrainOps& ops = CudaTrainOps(compute_major);
    const int heads = attention_.shape().heads, head_dim = attention_.shape().head_dim;
    const DeviceArray<char> workspace(static_cast<size_t>(ops.flash_backward_workspace_bytes(rows_, heads, head_dim, deterministic)));
    workspace.Poison();
    ops.flash_backward({.qkv = qkv, .qkv_stride = 3 * width_, .output = output, .d_output = d_output, .output_stride = width_, .log_sum_exp = forward_.log_sum_exp,
                        .lse_stride = forward_.qkv_rows, .d_qkv = d_qkv, .begin = begin_.get(), .length = length_.get(),
                        .sequences = static_cast<int>(length_.size()), .max_length = longest_, .rows = rows_, .heads = heads, .head_dim = head_dim,
                        .scale = forward_.scale, .alibi_slopes = forward_.alibi_slopes, .type = type, .deterministic = deterministic,
                        .workspace = workspace.get()}, {nullptr});
    PRECIS_REQUIRE(kernels::cuda::TakeLaunchError());
    PRECIS_REQUIRE(cudaDeviceSynchronize());
  }

  const AttentionCase attention_;
  const kernels::GpuAttentionArgs forward_;
  const int rows_, width_;
  const std::vector<uint16_t> d_output_host_;
  const DeviceArray<uint16_t> d_output_;
  DeviceArray<int32_t> begin_, length_;
  int longest_ = 0;
};

AttentionShape Shape(const std::vector<int>& lengths, bool alibi, int heads, int head_dim) {
  AttentionShape shape;
  shape.queries = shape.contexts = lengths;
  shape.alibi = alibi;
  shape.heads = heads;
  shape.head_dim = head_dim;
  return shape;
}

Outcome Repeats(const AttentionShape& shape) {
  const Problem problem(shape);
  const std::vector<uint16_t> first = problem.Run(0, true);
  for (int i = 0; i < 10; ++i) {
    if (problem.Run(0, true) != first) return {false, false, "run " + std::to_string(i + 1) + " differs"};
  }
  return {true, false, "10 runs alike"};
}

}  // namespace

void AddAttentionBackwardChecks(Checks& checks) {
  struct Engine {
    std::string name;
    int compute_major;  // 0: the device's own
    bool deterministic;
  };
  for (const Engine& engine : {Engine{"this device's", 0, true}, Engine{"sm_80", 8, true}, Engine{"sm_80, atomic dQ", 8, false}}) {
    for (const bool alibi : {false, true}) {
      const auto add = [&](const std::string& name, const std::vector<int>& lengths, int heads, int head_dim) {
        checks.push_back({"backward/" + engine.name + "/" + name + (alibi ? " alibi" : " learned"), [=] {
                            const Problem problem(Shape(lengths, alibi, heads, head_dim));
                            return problem.Compare(problem.Run(engine.compute_major, engine.deterministic));
                          }});
      };
      for (const int length : {1, 2, 63, 64, 65, 127, 128, 129, 1000, 1024}) add(std::to_string(length), {length}, 12, 64);
      add("ragged", {700, 1, 64, 0, 193, 1024, 15, 385, 129}, 12, 64);
      add("3000, 25 heads", {3000}, 25, 64);
      add("head size 128", {300, 77}, 4, 128);
    }
  }
  for (const bool alibi : {false, true}) {
    checks.push_back({std::string("backward/this device's/bits run to run") + (alibi ? " alibi" : " learned"),
                      [alibi] { return Repeats(Shape({2048, 1000, 77}, alibi, 12, 64)); }});
  }
}

}  // namespace precis::gpu_test
