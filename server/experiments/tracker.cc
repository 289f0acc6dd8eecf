#include "server/experiments/tracker.h"

#include <algorithm>
#include <cmath>

#include "absl/time/clock.h"
#include "server/experiments/assignment.h"
#include "server/experiments/report.h"
#include "server/text.h"

namespace precis::server {
namespace {

ExperimentResults EmptyResults(const Experiment& experiment) {
  double total = 0;
  for (const Arm& arm : experiment.arms) total += arm.weight;
  std::vector<double> shares;
  for (const Arm& arm : experiment.arms) shares.push_back(arm.weight / total);
  return ExperimentResults(shares);
}

absl::Status Unknown(std::string_view experiment, const ExperimentConfig& config) {
  std::string known;
  for (const Experiment& e : config.experiments) StrAppend(&known, known.empty() ? "" : ", ", e.name);
  return absl::NotFoundError(StrCat("no experiment '", experiment, "' in the running configuration; there is ", known.empty() ? "none" : known));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExperimentTracker>> ExperimentTracker::Create(Options options, Events events) {
  std::unique_ptr<StateFile> file;
  if (!options.state_file.empty()) {
    absl::StatusOr<std::unique_ptr<StateFile>> opened = StateFile::Open(options.state_file);
    if (!opened.ok()) return opened.status();
    file = *std::move(opened);
  }
  std::unique_ptr<ExperimentTracker> tracker(new ExperimentTracker(std::move(options), std::move(events), std::move(file)));
  if (absl::Status s = tracker->Restore(); !s.ok()) return s;
  tracker->thread_ = std::thread([t = tracker.get()] { t->Run(); });
  return tracker;
}

ExperimentTracker::ExperimentTracker(Options options, Events events, std::unique_ptr<StateFile> file)
    : options_(std::move(options)), events_(std::move(events)), file_(std::move(file)), config_(std::make_shared<const ExperimentConfig>()) {}

int64_t ExperimentTracker::Now() { return absl::ToUnixSeconds(absl::Now()); }

ExperimentTracker::~ExperimentTracker() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void ExperimentTracker::SetConfig(std::shared_ptr<const ExperimentConfig> config) {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, Live, std::less<>> old;
  old.swap(live_);
  for (const Experiment& experiment : config->experiments) {
    const std::string fingerprint = experiment.Fingerprint();
    Live live;
    if (auto it = old.find(experiment.name); it != old.end() && it->second.fingerprint == fingerprint) {
      live = std::move(it->second);
      old.erase(it);
    } else {
      live.fingerprint = fingerprint;
      live.results = EmptyResults(experiment);
      if (auto stored = stored_.find({experiment.name, fingerprint}); stored != stored_.end()) {
        absl::StatusOr<ExperimentResults> results = ExperimentResults::Parse(stored->second);
        if (results.ok() && results->arms.size() == experiment.arms.size()) live.results = *std::move(results);
        stored_.erase(stored);
      }
      for (const StoredStop& stop : stored_stops_) {
        if (stop.experiment == experiment.name && stop.fingerprint == fingerprint) live.stops[stop.arm] = stop;
      }
    }
    live.experiment = experiment;
    live_.emplace(experiment.name, std::move(live));
  }
  // What left the configuration is kept: it goes on if it comes back.
  for (auto& [name, live] : old) {
    std::string& bytes = stored_[{name, live.fingerprint}];
    bytes = live.results.Serialize();
    if (live.dirty && file_ != nullptr) departed_.push_back({name, live.fingerprint, bytes});
    for (const auto& [arm, stop] : live.stops) {
      const auto same = [&stop = stop](const StoredStop& s) { return s.experiment == stop.experiment && s.fingerprint == stop.fingerprint && s.arm == stop.arm; };
      if (std::none_of(stored_stops_.begin(), stored_stops_.end(), same)) stored_stops_.push_back(stop);
    }
  }
  config_ = std::move(config);
}

ExperimentTracker::Live* ExperimentTracker::Find(std::string_view experiment) {
  const auto it = live_.find(experiment);
  return it == live_.end() ? nullptr : &it->second;
}

const ExperimentTracker::Live* ExperimentTracker::Find(std::string_view experiment) const {
  const auto it = live_.find(experiment);
  return it == live_.end() ? nullptr : &it->second;
}

ExperimentTracker::Live* ExperimentTracker::FindRunning(const Experiment& experiment) {
  Live* live = Find(experiment.name);
  return live == nullptr || live->fingerprint != experiment.Fingerprint() ? nullptr : live;
}

std::string ExperimentTracker::WhyStopped(const Experiment& experiment, std::string_view arm) const {
  absl::MutexLock lock(&mutex_);
  const Live* live = Find(experiment.name);
  if (live == nullptr || live->stops.empty()) return "";
  for (const std::string& key : {std::string(), std::string(arm)}) {
    const auto stop = live->stops.find(key);
    if (stop != live->stops.end()) return StrCat(stop->second.guardrail, ": ", stop->second.detail);
  }
  return "";
}

void ExperimentTracker::OnShadowPair(const Experiment& experiment, std::string_view arm, const ShadowPair& pair) {
  absl::MutexLock lock(&mutex_);
  Live* live = FindRunning(experiment);
  if (live == nullptr) return;
  live->results.arms[static_cast<size_t>(experiment.ArmIndex(arm))].shadow.Add(pair);
  live->dirty = true;
}

void ExperimentTracker::OnShadowDropped(const Experiment& experiment, std::string_view arm) {
  absl::MutexLock lock(&mutex_);
  Live* live = FindRunning(experiment);
  if (live == nullptr) return;
  ++live->results.arms[static_cast<size_t>(experiment.ArmIndex(arm))].shadow.dropped;
  live->dirty = true;
}

absl::Status ExperimentTracker::Stop(const std::string& experiment, const std::string& arm, const std::string& guardrail, const std::string& detail) {
  StoredStop stop{experiment, "", arm, guardrail, detail, Now()};
  {
    absl::MutexLock lock(&mutex_);
    Live* live = Find(experiment);
    if (live == nullptr) return Unknown(experiment, *config_);
    if (!arm.empty() && live->experiment.ArmIndex(arm) < 0) return absl::NotFoundError(StrCat("experiment '", experiment, "' has no arm '", arm, "'"));
    if (arm == live->experiment.control_arm().name) {
      return absl::FailedPreconditionError(StrCat("'", arm, "' is the control, which the other arms are compared with; stop the whole experiment instead"));
    }
    stop.fingerprint = live->fingerprint;
  }
  return Adopt(std::move(stop));
}

// Of an experiment with this fingerprint; else, and if it was stopped already, nothing happens.
absl::Status ExperimentTracker::Adopt(StoredStop stop) {
  {
    absl::MutexLock lock(&mutex_);
    Live* live = Find(stop.experiment);
    if (live == nullptr || live->fingerprint != stop.fingerprint) return absl::OkStatus();
    if (!live->stops.emplace(stop.arm, stop).second) return absl::OkStatus();
    new_stops_.push_back(stop);
  }
  if (events_.on_stop != nullptr) events_.on_stop(stop.experiment, stop);
  return Flush();
}

void ExperimentTracker::FillStates(const Live& live, precis::v1::Experiment* out) const {
  FillExperiment(live.experiment, config_->generation, absl::Now(), out);
  for (precis::v1::ExperimentArm& arm : *out->mutable_arms()) {
    for (const std::string& key : {std::string(), arm.name()}) {
      const auto stop = live.stops.find(key);
      if (stop == live.stops.end()) continue;
      arm.set_state(precis::v1::ARM_STATE_STOPPED);
      arm.set_stopped_because(StrCat(stop->second.guardrail, ": ", stop->second.detail));
    }
  }
}

absl::StatusOr<precis::v1::Experiment> ExperimentTracker::Describe(const std::string& experiment) const {
  absl::MutexLock lock(&mutex_);
  const Live* live = Find(experiment);
  if (live == nullptr) return Unknown(experiment, *config_);
  precis::v1::Experiment out;
  FillStates(*live, &out);
  return out;
}

absl::StatusOr<ExperimentResults> ExperimentTracker::Results(const std::string& experiment) const {
  absl::MutexLock lock(&mutex_);
  const Live* live = Find(experiment);
  if (live == nullptr) return Unknown(experiment, *config_);
  return live->results;
}

absl::StatusOr<precis::v1::Report> ExperimentTracker::Report(const std::string& experiment, const std::vector<ExperimentResults>& others) const {
  Experiment config;
  ExperimentResults results;
  precis::v1::Report tail;  // what the lock guards, beside the results
  {
    absl::MutexLock lock(&mutex_);
    const Live* live = Find(experiment);
    if (live == nullptr) return Unknown(experiment, *config_);
    config = live->experiment;
    results = live->results;
    FillStates(*live, tail.mutable_experiment());
    tail.mutable_history()->Add(live->history.begin(), live->history.end());
  }
  for (precis::v1::Decision& decision : Stops(experiment)) *tail.add_decisions() = std::move(decision);
  for (const ExperimentResults& other : others) results.Merge(other);
  precis::v1::Report report = MakeReport(config, results);
  report.MergeFrom(tail);
  for (int i = 0; i < report.arms_size(); ++i) {
    report.mutable_arms(i)->set_state(report.experiment().arms(i).state());
    report.mutable_arms(i)->set_stopped_because(report.experiment().arms(i).stopped_because());
  }
  return report;
}

void ExperimentTracker::Check() {
  std::vector<std::string> names;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, live] : live_) names.push_back(name);
  }
  for (const std::string& name : names) {
    Experiment experiment;
    ExperimentResults all;
    std::vector<ExperimentResults> peers;
    {
      absl::MutexLock lock(&mutex_);
      const Live* live = Find(name);
      if (live == nullptr) continue;
      experiment = live->experiment;
      all = live->results;
      peers = live->peers;
    }
    for (const ExperimentResults& peer : peers) all.Merge(peer);
    for (const Breach& breach : FindBreaches(experiment, all)) (void)Stop(name, breach.arm, breach.guardrail, breach.detail);
    absl::StatusOr<precis::v1::Report> report = Report(name, peers);
    if (!report.ok()) continue;
    if (events_.on_report != nullptr) events_.on_report(*report);
    AddHistory(*report);
  }
}

}  // namespace precis::server
