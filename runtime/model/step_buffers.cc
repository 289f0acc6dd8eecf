#include "runtime/model/step_buffers.h"

#include <algorithm>

namespace precis::runtime {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kTokenStep = 64;

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
int64_t Floats(int64_t count) { return RoundUp(count * static_cast<int64_t>(sizeof(float)), kAlignment); }

struct Sizes {
  int64_t hidden, normed, wide, logits, scratch;
};

Sizes SizesFor(const ModelConfig& config, int64_t tokens, int64_t logit_rows, int threads) {
  const int64_t rows = RoundUp(tokens, kTokenStep);
  const int64_t width = config.n_embd;
  return {.hidden = Floats(rows * width),
          .normed = Floats(rows * width),
          .wide = Floats(rows * std::max<int64_t>(4 * width, config.n_inner)),
          .logits = Floats(std::min<int64_t>(logit_rows, StepBuffers::kLogitRows) * config.vocab_size),
          .scratch = Floats(int64_t{threads} * RoundUp(width, 16))};
}

}  // namespace

bool GrowingBuffer::Reserve(int64_t bytes, int64_t capacity) {
  if (bytes <= capacity_) return true;
  data_.reset();  // before the new one is allocated, so that both never exist together
  capacity_ = 0;
  capacity = RoundUp(std::max(bytes, capacity), kAlignment);
  data_.reset(static_cast<char*>(std::aligned_alloc(kAlignment, capacity)));
  if (data_ == nullptr) return false;
  capacity_ = capacity;
  return true;
}

bool StepBuffers::Reserve(const ModelConfig& config, int64_t tokens, int64_t logit_rows, int threads) {
  const Sizes sizes = SizesFor(config, tokens, logit_rows, threads);
  return hidden.Reserve(sizes.hidden, sizes.hidden) && normed.Reserve(sizes.normed, sizes.normed) &&
         wide.Reserve(sizes.wide, sizes.wide) && logits.Reserve(sizes.logits, sizes.logits) &&
         scratch.Reserve(sizes.scratch, sizes.scratch);
}

bool StepBuffers::ReserveWorkspace(int64_t bytes, int64_t limit) {
  // Half as much again, since contexts grow by the step; but not past the limit.
  return workspace.Reserve(bytes, std::min(bytes + bytes / 2, std::max(bytes, limit)));
}

int64_t StepBuffers::held_bytes() const {
  return hidden.capacity() + normed.capacity() + wide.capacity() + logits.capacity() + scratch.capacity();
}

int64_t StepBuffers::Bytes(const ModelConfig& config, int64_t tokens, int64_t logit_rows, int threads) {
  const Sizes sizes = SizesFor(config, tokens, logit_rows, threads);
  return sizes.hidden + sizes.normed + sizes.wide + sizes.logits + sizes.scratch;
}

}  // namespace precis::runtime
