#ifndef PRECIS_SERVER_SHADOW_H_
#define PRECIS_SERVER_SHADOW_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/engine.h"
#include "server/experiments/experiment.h"
#include "server/experiments/tracker.h"
#include "server/metrics/metrics.h"

namespace precis::server {

// How two token sequences compare. rouge_l is F1 of the longest common subsequence of tokens (Lin 2004, on tokens of the model).
ShadowPair ComparePair(const runtime::Result& control, const runtime::Result& arm);

// Replays samples of an experiment's requests on the control and on an arm, one after the other in random order, each alone in an engine that
// has nothing else to do, with fresh caches; answers are thrown away. As soon as a user's request comes, the replay that runs is cancelled: users
// never wait for more than the step that is under way. Samples wait in a short queue and are dropped when it is full or they were cut short too
// often. Nothing of this is in user-facing metrics. Thread-safe.
class ShadowRunner {
 public:
  static constexpr size_t kMaxWaiting = 16;
  static constexpr int kMaxTries = 5;

  ShadowRunner(ExperimentTracker* tracker, Metrics* metrics);
  ~ShadowRunner();  // calls Stop

  // From now on there is an engine. It outlives the runner, or Stop is called before it goes.
  void Start(runtime::Engine* engine);
  void Stop();

  // A request that an arm served: replayed with the experiment's probability. `request` is as it was submitted; `model` served it.
  void Offer(std::shared_ptr<const ExperimentConfig> config, const Experiment& experiment, const runtime::Request& request, const std::string& model);
  // To be called before a user's request is submitted and after it has ended.
  void OnUserBegins();
  void OnUserEnds();

 private:
  struct Sample {
    std::shared_ptr<const ExperimentConfig> config;  // holds what the pointers point to
    const Experiment* experiment;
    const Arm* arm;
    std::string model;
    runtime::Request request;
    int tries = 0;
  };

  void Run();
  // One replay; empty if it was cut short or failed (*failed).
  std::optional<runtime::Result> Replay(const Sample& sample, const Arm& arm, bool* failed);
  void RunPair(Sample sample);
  bool idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return users_ == 0; }

  ExperimentTracker* const tracker_;
  Metrics* const metrics_;
  absl::Mutex mutex_;
  runtime::Engine* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::deque<Sample> waiting_ ABSL_GUARDED_BY(mutex_);
  int users_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<runtime::RequestId> running_ ABSL_GUARDED_BY(mutex_);
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_SHADOW_H_
