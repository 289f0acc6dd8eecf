#include "server/experiment_manager.h"

#include <fstream>
#include <iterator>
#include <random>
#include <utility>

#include "kernels/attention.h"
#include "server/experiments/experiment_yaml.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;

ExperimentTracker::Options TrackerOptions(const ServerOptions& options) {
  ExperimentTracker::Options out;
  out.state_file = options.experiments_state;
  out.flush_interval = options.experiments_flush;
  out.check_interval = options.experiments_check;
  out.outcome_window = options.outcome_window;
  return out;
}

std::string RandomId() {
  std::random_device random;
  return StrCat(random(), "-", random(), "-", random(), "-", random());
}

}  // namespace

absl::StatusOr<std::string> ReadConfigurationFile(const std::string& file, std::string_view what) {
  std::ifstream stream(file, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (!stream) return absl::InvalidArgumentError(StrCat(what, "=", file, " can't be read"));
  if (text.size() > kMaxFileBytes) return absl::InvalidArgumentError(StrCat(what, "=", file, " has ", text.size(), " bytes; at most 16 MiB are read"));
  return text;
}

absl::Status CheckArmNames(const ExperimentConfig& config, std::string_view where, const std::function<bool(std::string_view)>& has_model) {
  for (const Experiment& experiment : config.experiments) {
    const std::string at = StrCat(where, ": experiment '", experiment.name, "'");
    if (!experiment.model.empty() && !has_model(experiment.model)) {
      return absl::InvalidArgumentError(StrCat(at, " names model '", experiment.model, "', which no --model gives"));
    }
    for (const Arm& arm : experiment.arms) {
      if (kernels::FindAttentionVariant(arm.attention_backend) == nullptr) {
        return absl::InvalidArgumentError(StrCat(at, ", arm '", arm.name, "': unknown attention_backend '", arm.attention_backend,
                                                 "'; known are ", kernels::AttentionVariantNames()));
      }
      if (!arm.model.empty() && !has_model(arm.model)) {
        return absl::InvalidArgumentError(StrCat(at, ", arm '", arm.name, "' names model '", arm.model, "', which no --model gives"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ExperimentManager>> ExperimentManager::Create(const Configuration& configuration, Metrics* metrics, Logger* log) {
  std::unique_ptr<ExperimentManager> manager(new ExperimentManager(configuration, metrics, log));
  if (absl::Status s = manager->Start(configuration); !s.ok()) return s;
  return manager;
}

ExperimentManager::ExperimentManager(const Configuration& configuration, Metrics* metrics, Logger* log)
    : options_(configuration.options),
      file_(options_.experiments_file.empty() ? configuration.file : options_.experiments_file),
      alone_(!options_.experiments_file.empty()),
      server_id_(RandomId()),
      metrics_(metrics),
      log_(log),
      store_(configuration.experiments) {}

absl::Status ExperimentManager::Start(const Configuration& configuration) {
  ExperimentTracker::Events events;
  events.on_stop = [this](const std::string& experiment, const StoredStop& stop) {
    metrics_->OnExperimentStopped(experiment, stop.arm.empty() ? "all" : stop.arm, stop.guardrail);
    if (log_ == nullptr) return;
    log_->Log(LogLevel::kWarning, "experiment stopped",
              LogFields().Add("experiment", experiment).Add("arm", stop.arm.empty() ? "all" : stop.arm).Add("guardrail", stop.guardrail).Add("detail", stop.detail));
  };
  events.on_report = [this](const precis::v1::Report& report) { metrics_->OnExperimentReport(report); };
  events.on_save_failed = [this](const absl::Status& status) {
    if (log_ != nullptr) log_->Log(LogLevel::kError, "experiments' state not written", LogFields().Add("error", ToStd(status.message())));
  };
  absl::StatusOr<std::unique_ptr<ExperimentTracker>> tracker = ExperimentTracker::Create(TrackerOptions(options_), std::move(events));
  if (!tracker.ok()) return tracker.status();
  tracker_ = *std::move(tracker);
  if (!file_.empty()) {
    absl::StatusOr<std::string> text = ReadConfigurationFile(file_, alone_ ? "--experiments-file" : "--config");
    if (!text.ok()) return text.status();
    if (alone_) {
      absl::StatusOr<ExperimentConfig> config = ParseFile(*text);
      if (!config.ok()) return config.status();
      store_.Start(*std::move(config));
    }
    absl::MutexLock lock(&reload_mutex_);
    content_ = *std::move(text);
  }
  tracker_->SetConfig(store_.snapshot());
  metrics_->SetConfigGeneration(store_.snapshot()->generation);
  if (!file_.empty()) watcher_ = std::thread([this] { Watch(); });
  return absl::OkStatus();
}

ExperimentManager::~ExperimentManager() {
  {
    absl::MutexLock lock(&stop_mutex_);
    stop_ = true;
  }
  if (watcher_.joinable()) watcher_.join();
}

void ExperimentManager::SetCatalog(const runtime::Catalog* catalog) {
  {
    absl::MutexLock lock(&mutex_);
    catalog_ = catalog;
  }
  if (catalog == nullptr || log_ == nullptr) return;
  // Models that were named by flags, with backends that they turn out not to serve: requests of such arms fall back.
  if (absl::Status s = CheckModels(*store_.snapshot()); !s.ok()) {
    log_->Log(LogLevel::kWarning, "an experiment's arm can't serve", LogFields().Add("error", ToStd(s.message())));
  }
}

absl::Status ExperimentManager::CheckModels(const ExperimentConfig& config) const {
  absl::MutexLock lock(&mutex_);
  if (catalog_ == nullptr) return absl::OkStatus();
  for (const Experiment& experiment : config.experiments) {
    for (const Arm& arm : experiment.arms) {
      const std::string& model = arm.model.empty() ? experiment.model : arm.model;
      const auto choice = catalog_->Resolve(model, arm.attention_backend);
      if (choice.ok()) continue;
      return absl::InvalidArgumentError(StrCat("experiment '", experiment.name, "', arm '", arm.name, "': ", choice.status().message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ExperimentConfig> ExperimentManager::Parse(const std::string& text, std::string_view file) const {
  absl::StatusOr<ExperimentConfig> config = ParseExperimentsText(text, file, /*alone=*/true);
  if (!config.ok()) return config.status();
  const auto known = [this](std::string_view name) {
    for (const runtime::ModelSpec& model : options_.models) {
      if (model.name == name) return true;
    }
    return options_.models.empty();  // tests give an engine without flags
  };
  if (absl::Status s = CheckArmNames(*config, file, known); !s.ok()) return s;
  if (absl::Status s = CheckModels(*config); !s.ok()) return absl::InvalidArgumentError(StrCat(file, ": ", s.message()));
  return config;
}

absl::StatusOr<ExperimentConfig> ExperimentManager::ParseFile(const std::string& text) const {
  if (alone_) return Parse(text, file_);
  absl::StatusOr<ExperimentConfig> config = ParseExperimentsText(text, file_, /*alone=*/false);
  if (!config.ok()) return config.status();
  return Parse(FormatExperiments(*config), file_);
}

absl::StatusOr<bool> ExperimentManager::Reload() {
  if (file_.empty()) return absl::FailedPreconditionError("there is no file to reload: the server was started without --experiments-file and without --config");
  absl::MutexLock lock(&reload_mutex_);
  absl::StatusOr<std::string> text = ReadConfigurationFile(file_, alone_ ? "--experiments-file" : "--config");
  absl::StatusOr<ExperimentConfig> config = text.ok() ? ParseFile(*text) : absl::StatusOr<ExperimentConfig>(text.status());
  const bool changed = text.ok() && *text != content_;
  if (text.ok()) content_ = *text;
  absl::Status status = config.status();
  const bool publish = status.ok() && (changed || FormatExperiments(*config) != FormatExperiments(*store_.snapshot()));
  if (publish) status = store_.Publish(*std::move(config));
  if (!status.ok()) {
    metrics_->OnExperimentsReload("refused");
    if (log_ != nullptr) {
      log_->Log(LogLevel::kError, "experiments not reloaded; the running ones stay",
                LogFields().Add("error", ToStd(status.message())).Add("generation", static_cast<int64_t>(store_.snapshot()->generation)));
    }
    return status;
  }
  if (!publish) return false;
  const auto generation = store_.snapshot()->generation;
  tracker_->SetConfig(store_.snapshot());
  metrics_->OnExperimentsReload("taken");
  metrics_->SetConfigGeneration(generation);
  if (log_ != nullptr) {
    log_->Log(LogLevel::kInfo, "experiments reloaded", LogFields().Add("file", file_).Add("generation", static_cast<int64_t>(generation)));
  }
  return true;
}

void ExperimentManager::Watch() {
  const auto stopped = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(stop_mutex_) { return stop_; };
  bool unreadable = false;
  while (true) {
    {
      absl::MutexLock lock(&stop_mutex_);
      if (stop_mutex_.AwaitWithTimeout(absl::Condition(&stopped), options_.experiments_reload)) return;
    }
    const absl::StatusOr<std::string> text = ReadConfigurationFile(file_, "");
    bool changed = text.ok() != !unreadable;
    unreadable = !text.ok();
    if (text.ok()) {
      absl::MutexLock lock(&reload_mutex_);
      changed = changed || *text != content_;
    }
    if (changed) (void)Reload();  // says what is wrong once for each content
  }
}

}  // namespace precis::server
