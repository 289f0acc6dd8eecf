#ifndef PRECIS_TESTS_SERVER_FAKE_ENGINE_H_
#define PRECIS_TESTS_SERVER_FAKE_ENGINE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/engine.h"
#include "server/metrics/metrics.h"

namespace precis::server {

// An engine without a model: answers after a moment, or holds requests until told otherwise. Keeps the contract of runtime::Engine:
// one on_done a request, cancellation and deadlines honoured within a few milliseconds.
class FakeEngine : public runtime::Engine {
 public:
  FakeEngine();  // model "news": checkpoints "news" (standard, flash) and "news-alibi" (flash_alibi, standard_alibi)
  ~FakeEngine() override;

  absl::StatusOr<runtime::RequestId> Submit(runtime::Request request, runtime::RequestCallbacks callbacks) override;
  void Cancel(runtime::RequestId id) override;
  void Drain(absl::Duration bound) override;
  const runtime::Catalog& catalog() const override { return *catalog_; }
  Load load() const override;

  // While on, requests stay unanswered.
  void Hold(bool hold);
  // Refuses requests with this status (OK: accepts again).
  void RefuseWith(absl::Status status);
  // Ends requests with this status instead of an answer.
  void FailWith(absl::Status status);
  // The answers are made of these deltas.
  void SetDeltas(std::vector<std::string> deltas);

  int live() const;
  int cancelled() const;
  std::vector<runtime::Request> submitted() const;  // without the warm-up's

 private:
  struct Live {
    runtime::Request request;
    runtime::RequestCallbacks callbacks;
    bool cancelled = false;
  };
  void Run();
  // The status to end a request with, if it is time.
  bool IsDue(const Live& live, absl::Status* status) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<runtime::Result> Answer(const runtime::Request& request, const std::vector<std::string>& deltas) const;

  std::unique_ptr<runtime::Catalog> catalog_;
  mutable absl::Mutex mutex_;
  std::map<runtime::RequestId, Live> live_ ABSL_GUARDED_BY(mutex_);
  std::vector<runtime::Request> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> deltas_ ABSL_GUARDED_BY(mutex_) = {"A ", "short ", "summary."};
  absl::Status refuse_ ABSL_GUARDED_BY(mutex_), fail_ ABSL_GUARDED_BY(mutex_);
  runtime::RequestId next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  int cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool end_all_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Writes down what it is told, as text.
class FakeMetrics : public Metrics {
 public:
  void OnRpcFinished(const runtime::RequestLabels& labels, std::string_view grpc_code, std::string_view finish_reason,
                     absl::Duration duration) override;
  void OnRefused(const runtime::RequestLabels& labels, std::string_view reason) override;
  void OnRejected(const runtime::RequestLabels& labels, runtime::RejectReason reason) override;
  void OnAssignment(std::string_view experiment, std::string_view arm, std::string_view reason) override;
  void OnModelLoaded(std::string_view, std::string_view, std::string_view, int64_t, int, int64_t) override {}
  void SetReady(bool ready) override;
  void SetDraining(bool draining) override;
  void SetConfigGeneration(uint64_t generation) override {}
  std::string Serialize() const override { return ""; }

  // How often that line was written.
  int Count(const std::string& line) const;
  std::string All() const;

 private:
  void Add(std::string line);

  mutable absl::Mutex mutex_;
  std::map<std::string, int> lines_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_FAKE_ENGINE_H_
