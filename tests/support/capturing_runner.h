#ifndef PRECIS_TESTS_SUPPORT_CAPTURING_RUNNER_H_
#define PRECIS_TESTS_SUPPORT_CAPTURING_RUNNER_H_

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/model/catalog.h"
#include "runtime/model/model_runner.h"

namespace precis::testing {

// The logits behind every token, by (seed of the request, number of the token). Give every request a seed of its own. Thread-safe.
class LogitsRecord {
 public:
  using Key = std::pair<uint64_t, size_t>;
  void Add(const Key& key, const float* logits, int count) {
    std::vector<uint32_t> bits(count);
    std::memcpy(bits.data(), logits, count * sizeof(float));
    MutexLock lock(&mu_);
    logits_[key] = std::move(bits);
  }
  // Of a beam search, whose beams have no names: that such logits were seen.
  void AddBeam(const float* logits, int count) {
    const std::string bytes(reinterpret_cast<const char*>(logits), count * sizeof(float));
    MutexLock lock(&mu_);
    beams_.insert(bytes);
  }
  std::set<std::string> TakeBeams() {
    MutexLock lock(&mu_);
    return std::exchange(beams_, {});
  }
  std::map<Key, std::vector<uint32_t>> Take() {
    MutexLock lock(&mu_);
    return std::exchange(logits_, {});
  }

 private:
  Mutex mu_;
  std::map<Key, std::vector<uint32_t>> logits_;
  std::set<std::string> beams_;
};

// Runs another runner and records the logits of every sampled row, bit for bit.
class CapturingRunner final : public runtime::ModelRunner {
 public:
  CapturingRunner(std::unique_ptr<runtime::ModelRunner> runner, LogitsRecord* record)
      : runner_(std::move(runner)), record_(record) {}
  // All runners of a catalog.
  static void Wrap(const runtime::Catalog& catalog, LogitsRecord* record) {
    for (runtime::Checkpoint* checkpoint : catalog.all_checkpoints()) {
      checkpoint->runner = std::make_unique<CapturingRunner>(std::move(checkpoint->runner), record);
    }
  }

  const runtime::ModelConfig& config() const override { return runner_->config(); }
  std::string_view device() const override { return runner_->device(); }
  kernels::DType weights_dtype() const override { return runner_->weights_dtype(); }
  int context_tokens() const override { return runner_->context_tokens(); }
  int64_t weights_bytes() const override { return runner_->weights_bytes(); }
  int64_t parameters() const override { return runner_->parameters(); }
  int64_t page_bytes() const override { return runner_->page_bytes(); }
  int64_t ActivationBytes(int tokens, int sampled) const override { return runner_->ActivationBytes(tokens, sampled); }
  void SetLimits(int64_t attention_workspace_bytes) override { runner_->SetLimits(attention_workspace_bytes); }
  void SetBatchInvariant(bool on) override { runner_->SetBatchInvariant(on); }
  absl::StatusOr<runtime::KvMemory> Reserve(int64_t pages, int step_tokens) override { return runner_->Reserve(pages, step_tokens); }
  void CopyPage(const runtime::KvMemory& memory, int32_t from, int32_t to) override {
    runner_->CopyPage(memory, from, to);
  }

  absl::Status Step(absl::Span<const runtime::StepRow> rows, const runtime::KvMemory& memory, bool timed,
                    absl::Span<runtime::StepOutput> outputs, runtime::StepStats* stats) override {
    const int vocabulary = config().vocab_size;
    std::vector<runtime::StepRow> copies(rows.begin(), rows.end());
    std::vector<float> logits(rows.size() * vocabulary);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].sampling != nullptr) copies[i].logits = &logits[i * vocabulary];
    }
    absl::Status status = runner_->Step(copies, memory, timed, outputs, stats);
    for (size_t i = 0; i < rows.size() && status.ok(); ++i) {
      if (rows[i].logits != nullptr) record_->AddBeam(rows[i].logits, vocabulary);
      if (rows[i].sampling == nullptr) continue;
      record_->Add({rows[i].sampling->options->seed, rows[i].sampling->generated.size()}, copies[i].logits, vocabulary);
    }
    return status;
  }

 private:
  const std::unique_ptr<runtime::ModelRunner> runner_;
  LogitsRecord* const record_;
};

}  // namespace precis::testing

#endif  // PRECIS_TESTS_SUPPORT_CAPTURING_RUNNER_H_
