#ifndef PRECIS_SERVER_EXPERIMENTS_TRACKER_H_
#define PRECIS_SERVER_EXPERIMENTS_TRACKER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "precis/v1/experiments.pb.h"
#include "server/experiments/experiment.h"
#include "server/experiments/results.h"
#include "server/experiments/state_file.h"

namespace precis::server {

// Counts what the arms do, keeps it over restarts, and stops arms that break a guardrail. Thread-safe.
//
// What is counted in memory is written to the state file at every flush: a crash loses at most what was counted since the last one, and
// nothing is ever counted twice, since results and the requests that they count go into one transaction. An outcome is answered only after the flush
// that holds it. Without a file, all of this ends with the process.
class ExperimentTracker {
 public:
  struct Options {
    std::string state_file;                              // empty: memory only
    absl::Duration flush_interval = absl::Seconds(1);
    absl::Duration check_interval = absl::Seconds(5);    // guardrails, history, metrics
    absl::Duration outcome_window = absl::Hours(24);     // how late an outcome may come
    size_t max_open_requests = 200'000;                  // that outcomes are awaited for; the oldest make room
  };
  // Called by the tracker's thread, without its lock.
  struct Events {
    std::function<void(const std::string& experiment, const StoredStop&)> on_stop;
    std::function<void(const precis::v1::Report&)> on_report;
    std::function<void(const absl::Status&)> on_save_failed;
  };

  static absl::StatusOr<std::unique_ptr<ExperimentTracker>> Create(Options options, Events events);
  // Flushes.
  ~ExperimentTracker();

  // From now on these experiments are counted; those that are gone keep what is stored of them.
  void SetConfig(std::shared_ptr<const ExperimentConfig> config);

  // Empty if the arm runs; else why it was stopped.
  std::string WhyStopped(const Experiment& experiment, std::string_view arm) const;

  // A request that an arm served and finished (or failed by our fault). `observation.group` is filled in here.
  void OnRequest(const Experiment& experiment, std::string_view arm, std::string_view unit, std::string_view request_id, Observation observation);
  void OnShadowPair(const Experiment& experiment, std::string_view arm, const ShadowPair& pair);
  void OnShadowDropped(const Experiment& experiment, std::string_view arm);

  // Later outcomes of a request by the ids that replies carry. `done` is called once, maybe before this returns, maybe by the tracker's thread:
  // NOT_FOUND if the request is not known here (or no more), INVALID_ARGUMENT for a bad outcome (then none of them counts), INTERNAL if it could
  // not be stored (it may be sent again).
  using Recorded = std::function<void(absl::StatusOr<precis::v1::RecordOutcomeResponse>)>;
  void RecordOutcome(const precis::v1::RecordOutcomeRequest& request, Recorded done);

  // Stops an arm, or all if `arm` is empty. NOT_FOUND, or FAILED_PRECONDITION for the control alone: there would be nothing to compare with.
  absl::Status Stop(const std::string& experiment, const std::string& arm, const std::string& guardrail, const std::string& detail);

  // What peers of the same experiment found and stopped, all of them anew at each call. Guardrails judge by theirs and ours together; what
  // one of them stopped is stopped here, too. Results of another number of arms are left out.
  void OnPeers(const std::string& experiment, const std::string& fingerprint, std::vector<ExperimentResults> results,
               const std::vector<precis::v1::Decision>& stops);

  // NOT_FOUND unless it is in the running configuration. `others` are results of peers.
  absl::StatusOr<precis::v1::Report> Report(const std::string& experiment, const std::vector<ExperimentResults>& others = {}) const;
  absl::StatusOr<precis::v1::Experiment> Describe(const std::string& experiment) const;
  absl::StatusOr<ExperimentResults> Results(const std::string& experiment) const;
  // What was stopped of it.
  std::vector<precis::v1::Decision> Stops(const std::string& experiment) const;

  // Looks at the guardrails now; the tracker does so by itself at every check interval.
  void Check();
  // Writes now. OK without a file.
  absl::Status Flush();

 private:
  static int64_t Now();  // Unix seconds
  struct Live {
    Experiment experiment;
    std::string fingerprint;
    ExperimentResults results;
    std::vector<ExperimentResults> peers;  // theirs, as last heard
    bool dirty = false;
    std::map<std::string, StoredStop> stops;  // by arm; "" is all
    std::deque<precis::v1::HistoryPoint> history;
  };
  struct Waiting {
    Recorded done;
    precis::v1::RecordOutcomeResponse response;
  };

  ExperimentTracker(Options options, Events events, std::unique_ptr<StateFile> file);
  absl::Status Restore();
  void Run();
  Live* Find(std::string_view experiment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Live* Find(std::string_view experiment) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Live* FindRunning(const Experiment& experiment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(AssignedRequest request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<precis::v1::RecordOutcomeResponse> Count(const precis::v1::RecordOutcomeRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StoredState TakeChanges() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PutBack(const StoredState& changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Adopt(StoredStop stop);
  void AddHistory(const precis::v1::Report& report);
  void FillStates(const Live& live, precis::v1::Experiment* out) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const Events events_;
  const std::unique_ptr<StateFile> file_;  // may be null
  absl::Mutex flush_mutex_;                // one flush at a time; taken before mutex_

  mutable absl::Mutex mutex_;
  std::shared_ptr<const ExperimentConfig> config_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Live, std::less<>> live_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, std::string> stored_ ABSL_GUARDED_BY(mutex_);  // results that are not live
  std::vector<StoredStop> stored_stops_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, AssignedRequest> open_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::pair<int64_t, std::string>> open_order_ ABSL_GUARDED_BY(mutex_);  // oldest first
  absl::flat_hash_set<std::string> changed_ ABSL_GUARDED_BY(mutex_);                // keys of open_ to be written
  std::vector<StoredStop> new_stops_ ABSL_GUARDED_BY(mutex_);
  std::vector<StoredResults> departed_ ABSL_GUARDED_BY(mutex_);  // of experiments that left the configuration, to be written
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_TRACKER_H_
