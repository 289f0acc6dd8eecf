#ifndef PRECIS_TESTS_RUNTIME_ENGINE_ENGINE_HARNESS_H_
#define PRECIS_TESTS_RUNTIME_ENGINE_ENGINE_HARNESS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/mutex.h"
#include "runtime/engine.h"

namespace precis::testing {

// A request that was sent, and what came back.
class Call {
 public:
  void OnText(const std::string& delta) {
    MutexLock lock(&mu_);
    if (result_.has_value()) after_done_ = true;
    streamed_ += delta;
    ++deltas_;
    changed_.SignalAll();
  }
  void OnDone(absl::StatusOr<runtime::Result> result) {
    MutexLock lock(&mu_);
    if (result_.has_value()) after_done_ = true;
    result_ = std::move(result);
    changed_.SignalAll();
  }
  const absl::StatusOr<runtime::Result>& Wait() {
    MutexLock lock(&mu_);
    while (!result_.has_value()) changed_.Wait(&mu_);
    return *result_;
  }
  bool WaitFor(absl::Duration bound) {
    const absl::Time end = absl::Now() + bound;
    MutexLock lock(&mu_);
    while (!result_.has_value() && absl::Now() < end) changed_.WaitFor(&mu_, end - absl::Now());
    return result_.has_value();
  }
  void WaitForDeltas(int count) {
    MutexLock lock(&mu_);
    while (deltas_ < count && !result_.has_value()) changed_.Wait(&mu_);
  }
  bool done() { return WaitFor(absl::ZeroDuration()); }
  std::string streamed() {
    MutexLock lock(&mu_);
    return streamed_;
  }
  int deltas() {
    MutexLock lock(&mu_);
    return deltas_;
  }
  bool called_after_done() {
    MutexLock lock(&mu_);
    return after_done_;
  }

  runtime::RequestId id = 0;

 private:
  Mutex mu_;
  CondVar changed_;
  std::string streamed_;
  int deltas_ = 0;
  bool after_done_ = false;
  std::optional<absl::StatusOr<runtime::Result>> result_;
};

// Sends; a refusal is the call's result.
inline std::shared_ptr<Call> Send(runtime::Engine* engine, const runtime::Request& request) {
  auto call = std::make_shared<Call>();
  const auto id = engine->Submit(request, {[call](const std::string& delta) { call->OnText(delta); },
                                           [call](auto result) { call->OnDone(std::move(result)); }});
  if (id.ok()) {
    call->id = *id;
  } else {
    call->OnDone(id.status());
  }
  return call;
}

// A door that is shut until opened. For stopping a model in the middle of a step.
class Gate {
 public:
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.SignalAll();
  }
  void Shut() {
    MutexLock lock(&mu_);
    open_ = false;
  }
  void Pass() {
    MutexLock lock(&mu_);
    ++waiting_;
    changed_.SignalAll();
    while (!open_) changed_.Wait(&mu_);
    --waiting_;
  }
  void AwaitWaiting() {
    MutexLock lock(&mu_);
    while (waiting_ == 0) changed_.Wait(&mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool open_ = false;
  int waiting_ = 0;
};

// Counts what the engine tells.
class CountingTelemetry final : public runtime::Telemetry {
 public:
  void OnRejected(const runtime::RequestLabels&, runtime::RejectReason reason) override {
    Add(absl::StrCat("rejected ", Text(runtime::RejectReasonName(reason))));
  }
  void OnScheduled(const runtime::RequestLabels&, absl::Duration) override { Add("scheduled"); }
  void OnPrefixCache(const runtime::RequestLabels&, int prompt, int cached) override {
    Add("prefix prompt", prompt);
    Add("prefix cached", cached);
  }
  void OnFirstToken(const runtime::RequestLabels&, absl::Duration, absl::Duration) override { Add("first"); }
  void OnToken(const runtime::RequestLabels&, absl::Duration) override { Add("token"); }
  void OnFinished(const runtime::RequestLabels& labels, const absl::Status& status, std::string_view reason,
                  const runtime::Accounting&) override {
    Add(absl::StrCat("finished ", absl::StatusCodeToString(status.code()), " ", Text(reason)));
    Add(absl::StrCat("device ", Text(labels.device)));
  }
  void OnCancelled(const runtime::RequestLabels&, std::string_view stage, absl::Duration latency) override {
    Add(absl::StrCat("cancelled ", Text(stage)));
    if (latency < absl::ZeroDuration()) Add("negative latency");
  }
  void OnPreempted(const runtime::RequestLabels&) override { Add("preempted"); }
  void OnStep(const runtime::StepEvent& event) override {
    Add("steps");
    if (event.mixed) Add("mixed steps");
    Add("prefill tokens", event.prefill_tokens);
    Add("decode tokens", event.decode_tokens);
    for (int i = 0; i < event.attention_count; ++i) Add(absl::StrCat("timed ", Text(event.attention[i].attention_backend)));
  }
  void OnGauges(const runtime::GaugeSnapshot& snapshot) override {
    MutexLock lock(&mu_);
    gauges_ = snapshot;
    shares_.assign(snapshot.shares, snapshot.shares + snapshot.share_count);
    gauges_.shares = nullptr;  // valid during the call only
  }

  int64_t count(const std::string& what) {
    MutexLock lock(&mu_);
    return counts_[what];
  }
  runtime::GaugeSnapshot gauges() {
    MutexLock lock(&mu_);
    return gauges_;
  }
  std::vector<runtime::GaugeSnapshot::Share> shares() {
    MutexLock lock(&mu_);
    return shares_;
  }

 private:
  static std::string Text(std::string_view text) { return std::string(text); }
  void Add(const std::string& what, int64_t amount = 1) {
    MutexLock lock(&mu_);
    counts_[what] += amount;
  }

  Mutex mu_;
  std::map<std::string, int64_t> counts_;
  runtime::GaugeSnapshot gauges_;
  std::vector<runtime::GaugeSnapshot::Share> shares_;
};

}  // namespace precis::testing

#endif  // PRECIS_TESTS_RUNTIME_ENGINE_ENGINE_HARNESS_H_
