#ifndef PRECIS_RUNTIME_MODEL_GPU_BATCH_H_
#define PRECIS_RUNTIME_MODEL_GPU_BATCH_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/gpu/gpu_ops.h"
#include "runtime/model/edit_list.h"
#include "runtime/model/gpu_weights.h"
#include "runtime/model/model_runner.h"
#include "runtime/model/step_plan.h"

namespace precis::runtime {

// Sequences of one variant that one launch takes: those at [first, first + count) of the batch's arrays.
struct GpuPart {
  const kernels::AttentionVariant* variant;
  bool decode;
  int first, count, max_query, max_context, total_queries;
};

// What the kernels of one step read besides weights and cache: tokens and where they go, the sequences of each attention launch, how each next token is
// chosen. Laid out in pinned memory and copied to the device at once.
//
// A step of nothing but decoding rows is padded to a bucket of rows and of context, so that few shapes occur and each can be a graph. Padding rows have no
// query and no slot: they cost a little and touch nothing.
class GpuBatch {
 public:
  // Rows whose logits are made and sampled at a time.
  static constexpr int kLogitRows = 256;

  // Bytes of device memory for steps of up to `tokens` tokens.
  static int64_t Bytes(int64_t tokens, int context_tokens);
  // Memory for such steps.
  absl::Status Reserve(int tokens, int context_tokens, int vocabulary, GpuMemory* memory);

  // Lays out the rows of a step that the plan was built from. The one before may still be on its way to the device, not the one before that.
  void Fill(absl::Span<const StepRow> rows, const StepPlan& plan);
  // Enqueues the copy of what was filled last.
  void Copy(kernels::GpuDevice* device, kernels::Stream stream) const { device->CopyToDevice(device_, host_, used_bytes_, stream); }

  // Of the step, padding included.
  int tokens() const { return tokens_; }
  int samples() const { return samples_; }  // rows with logits
  const std::vector<GpuPart>& parts() const { return parts_; }
  bool decode_only() const { return decode_only_; }
  // Rows of logits from which the host chooses, or which it wants: indices into plan.logit_rows.
  const std::vector<int>& host_samples() const { return host_samples_; }
  // Equal shapes: equal launches.
  void AppendShape(std::vector<int>* key) const;

  // Device addresses.
  const int64_t* slots() const { return Device<int64_t>(at_.slots); }
  const int32_t* token_ids() const { return Device<int32_t>(at_.tokens); }
  const int32_t* positions() const { return Device<int32_t>(at_.positions); }
  const int32_t* last() const { return Device<int32_t>(at_.last); }
  const kernels::GpuSamplingRow* sampling() const { return Device<kernels::GpuSamplingRow>(at_.sampling); }
  const int32_t* edits() const { return Device<int32_t>(at_.edits); }
  // `count` sequences of the part, from its `done`-th on.
  kernels::GpuSequences Sequences(const GpuPart& part, int done, int count) const;

 private:
  // Offsets in bytes of the arrays of a step, in host and device memory alike.
  struct Layout {
    int64_t slots, tokens, positions, last, begin, count, context, sampling, table, edits;
  };
  static Layout MakeLayout(int64_t tokens, int64_t sequences, int64_t samples, int64_t stride);
  void Measure(absl::Span<const StepRow> rows, const StepPlan& plan);
  void AddSequences(absl::Span<const StepRow> rows, const StepPlan& plan, const StepPlan::Group& group, bool decode);
  void AddSequence(int begin, int count, int context, const int32_t* pages);
  void PadPart();
  bool AppendEdits(const StepRow& row);
  void FillTokens(const StepPlan& plan);
  void FillSampling(absl::Span<const StepRow> rows, const StepPlan& plan);
  template <class T>
  T* Host(int64_t offset) const { return reinterpret_cast<T*>(host_ + offset); }
  template <class T>
  const T* Device(int64_t offset) const { return reinterpret_cast<const T*>(device_ + offset); }

  int context_tokens_ = 0, vocabulary_ = 0;
  int64_t capacity_bytes_ = 0;
  char* hosts_[2] = {};  // in turn
  int turn_ = 0;
  char *host_ = nullptr, *device_ = nullptr;
  int64_t used_bytes_ = 0;
  Layout at_ = {};
  int tokens_ = 0, samples_ = 0, sequences_ = 0, stride_ = 0;
  bool decode_only_ = false;
  std::vector<GpuPart> parts_;
  std::vector<int> host_samples_;
  std::vector<int32_t> edits_;
  EditList edit_list_;
};

// A row that goes on after generated tokens, or runs them again, is decode: each of its tokens is a sequence of one query, so that its bits are those
// of the step that first ran it. All other rows are prefill, however short.
bool IsDecode(const StepRow& row);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_GPU_BATCH_H_
