#ifndef PRECIS_SERVER_EXPERIMENT_MANAGER_H_
#define PRECIS_SERVER_EXPERIMENT_MANAGER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "runtime/model/catalog.h"
#include "server/experiments/assignment.h"
#include "server/experiments/experiment.h"
#include "server/experiments/tracker.h"
#include "server/logger.h"
#include "server/metrics/metrics.h"
#include "server/options.h"

namespace precis::server {

// The running experiments: their configuration, reloaded when its file changes, and what they found. Thread-safe.
class ExperimentManager {
 public:
  // Reads --experiments-file and opens --experiments-state; errors name the file. `metrics` and `log` outlive the manager; log may be null.
  static absl::StatusOr<std::unique_ptr<ExperimentManager>> Create(const Configuration& configuration, Metrics* metrics, Logger* log);
  // Stops the watch, then flushes.
  ~ExperimentManager();

  std::shared_ptr<const ExperimentConfig> snapshot() const { return store_.snapshot(); }
  ExperimentTracker* tracker() { return tracker_.get(); }
  const ServerOptions& options() const { return options_; }
  absl::Duration check_interval() const { return options_.experiments_check; }
  // Drawn at random for this object.
  const std::string& server_id() const { return server_id_; }

  // The models that arms are checked against from now on; null: names alone are checked.
  void SetCatalog(const runtime::Catalog* catalog);

  // A whole configuration as --experiments-file holds it, checked against the loaded models. INVALID_ARGUMENT names line (or experiment) and reason.
  absl::StatusOr<ExperimentConfig> Parse(const std::string& text, std::string_view file) const;

  // Reads the file again; true if its content changed. On error the running configuration stays. FAILED_PRECONDITION without a file.
  absl::StatusOr<bool> Reload();

 private:
  ExperimentManager(const Configuration& configuration, Metrics* metrics, Logger* log);
  absl::Status Start(const Configuration& configuration);
  absl::StatusOr<ExperimentConfig> ParseFile(const std::string& text) const;
  absl::Status CheckModels(const ExperimentConfig& config) const;
  void Publish(ExperimentConfig config);
  void Watch();

  const ServerOptions options_;
  const std::string file_;  // empty: nothing to reload
  const bool alone_;        // the file holds experiments only
  const std::string server_id_;
  Metrics* const metrics_;
  Logger* const log_;
  ExperimentStore store_;
  std::unique_ptr<ExperimentTracker> tracker_;

  mutable absl::Mutex mutex_;
  const runtime::Catalog* catalog_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Mutex reload_mutex_;
  std::string content_ ABSL_GUARDED_BY(reload_mutex_);  // that was looked at last, good or bad
  absl::Mutex stop_mutex_;
  bool stop_ ABSL_GUARDED_BY(stop_mutex_) = false;
  std::thread watcher_;
};

// Every arm's backend is known, and its model is one of those that `has_model` knows. INVALID_ARGUMENT starts with `where`.
absl::Status CheckArmNames(const ExperimentConfig& config, std::string_view where, const std::function<bool(std::string_view)>& has_model);

// The content of a file of at most 16 MiB. INVALID_ARGUMENT names `what` it is.
absl::StatusOr<std::string> ReadConfigurationFile(const std::string& file, std::string_view what);

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENT_MANAGER_H_
