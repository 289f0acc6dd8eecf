#ifndef PRECIS_RUNTIME_MODEL_STEP_BUFFERS_H_
#define PRECIS_RUNTIME_MODEL_STEP_BUFFERS_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "runtime/model/model_runner.h"

namespace precis::runtime {

// Memory that only grows, 64-byte aligned; its content is lost when it grows.
class GrowingBuffer {
 public:
  // At least `bytes`; when it must grow, to `capacity` (>= bytes). False if there is no memory.
  bool Reserve(int64_t bytes, int64_t capacity);
  char* data() const { return data_.get(); }
  float* floats() const { return reinterpret_cast<float*>(data_.get()); }
  int64_t capacity() const { return capacity_; }

 private:
  struct Free {
    void operator()(char* data) const { std::free(data); }
  };
  std::unique_ptr<char, Free> data_;
  int64_t capacity_ = 0;
};

// The activations of a step. Sizes are steps of kTokenStep tokens, so that they settle quickly.
struct StepBuffers {
  // Logits are made for so many rows at once.
  static constexpr int kLogitRows = 32;

  GrowingBuffer hidden;   // [tokens][n_embd]: the residual stream
  GrowingBuffer normed;   // [tokens][n_embd]: after a layer norm
  GrowingBuffer wide;     // [tokens][3 n_embd] qkv and [tokens][n_embd] attention's output; or [tokens][n_inner]
  GrowingBuffer logits;   // [kLogitRows][vocab_size]
  GrowingBuffer scratch;  // [threads][n_embd]
  GrowingBuffer workspace;  // attention's, not counted as activations

  bool Reserve(const ModelConfig& config, int64_t tokens, int64_t logit_rows, int threads);
  bool ReserveWorkspace(int64_t bytes, int64_t limit);
  int64_t held_bytes() const;
  // What Reserve makes it hold, if it held no more before.
  static int64_t Bytes(const ModelConfig& config, int64_t tokens, int64_t logit_rows, int threads);
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_STEP_BUFFERS_H_
