#ifndef PRECIS_TESTS_SUPPORT_FAKE_MODEL_H_
#define PRECIS_TESTS_SUPPORT_FAKE_MODEL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/model/catalog.h"
#include "runtime/model/model_runner.h"
#include "runtime/tokenizer.h"

namespace precis::testing {

// One token a byte, 256 = end of text.
class FakeTokenizer final : public runtime::Tokenizer {
 public:
  static constexpr int32_t kEndOfText = 256;
  std::vector<int32_t> Encode(std::string_view text) const override;
  std::string DecodeBytes(const std::vector<int32_t>& ids) const override;
  std::string_view TokenBytes(int32_t id) const override;
  int32_t vocabulary_size() const override { return 257; }
  int32_t end_of_text() const override { return kEndOfText; }
};

// A model whose logits are hashes. What it stores in the KV pages for a position depends on all earlier stored values, on the token and
// on the variant; logits depend on every value that it reads back through the block table. So a wrong page, a page that was
// overwritten, a shared page of another prefix or variant, or a token that is run twice or not at all changes the tokens.
class FakeRunner final : public runtime::ModelRunner {
 public:
#ifdef PRECIS_TEST_LAUNCHES
  static constexpr bool kLaunches = true;
#else
  static constexpr bool kLaunches = false;
#endif
  struct Options {
    int vocabulary = 257;
    int end_of_text = FakeTokenizer::kEndOfText;
    int context_tokens = 1024;
    int64_t page_bytes = 4096;  // at least 128
    uint64_t seed = 1;          // the weights
    float end_of_text_bias = 0;  // added to its logit; logits are in [0, 1)
    bool letters_only = false;   // generates lower-case letters, spaces and the end of text
    bool launches = kLaunches;   // as a GPU's runner; a step runs when it is launched
  };
  explicit FakeRunner(const Options& options);

  const runtime::ModelConfig& config() const override { return config_; }
  std::string_view device() const override { return "cpu"; }
  kernels::DType weights_dtype() const override { return kernels::DType::kF32; }
  int context_tokens() const override { return options_.context_tokens; }
  int64_t weights_bytes() const override { return 1000; }
  int64_t parameters() const override { return 250; }
  int64_t page_bytes() const override { return options_.page_bytes; }
  int64_t ActivationBytes(int tokens, int sampled) const override { return 16 * tokens; }
  void SetLimits(int64_t) override {}
  absl::Status Step(absl::Span<const runtime::StepRow> rows, const runtime::KvMemory& memory, bool timed,
                    absl::Span<runtime::StepOutput> outputs, runtime::StepStats* stats) override;
  bool launches() const override { return options_.launches; }
  absl::Status Launch(absl::Span<const runtime::StepRow> rows, const runtime::KvMemory& memory, bool timed) override;
  absl::Status Collect(absl::Span<runtime::StepOutput> outputs, runtime::StepStats* stats) override;
  bool followable() const override { return options_.launches && !flights_.empty(); }
  void CopyPage(const runtime::KvMemory& memory, int32_t from, int32_t to) override;

  // Called at the beginning of every step, on the engine's thread; may block, and its error is the step's.
  std::function<absl::Status(absl::Span<const runtime::StepRow>)> on_step;
  // Called with the logits (before sampling) of every sampled row.
  std::function<void(const runtime::StepRow&, absl::Span<const float>)> on_logits;
  std::atomic<int> steps{0};
  std::atomic<int> steps_ahead{0};  // launched while another was under way

 private:
  struct Flight {
    std::vector<runtime::StepOutput> outputs;
    runtime::StepStats stats;
  };
  absl::Status RunRow(const runtime::StepRow& row, const runtime::KvMemory& memory, runtime::StepOutput* output);
  void FillLogits(uint64_t state);

  const Options options_;
  runtime::ModelConfig config_;
  std::vector<float> logits_;
  std::deque<Flight> flights_;
};

struct FakeCheckpoint {
  std::string name;
  FakeRunner::Options options;
  std::vector<std::string> variants;
};

// A catalog of one model "fake" with these checkpoints; `runners` (may be null) receives the runners.
std::unique_ptr<runtime::Catalog> FakeCatalog(const std::vector<FakeCheckpoint>& checkpoints,
                                              std::vector<FakeRunner*>* runners);

}  // namespace precis::testing

#endif  // PRECIS_TESTS_SUPPORT_FAKE_MODEL_H_
