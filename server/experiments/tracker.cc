#include "server/experiments/tracker.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>

#include "absl/time/clock.h"
#include "server/experiments/assignment.h"
#include "server/experiments/report.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kHistoryPoints = 240;  // of all arms together
constexpr size_t kMaxOutcomesInCall = 16;

int64_t Now() { return absl::ToUnixSeconds(absl::Now()); }

std::string KeyOf(std::string_view request_id) {
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  EVP_Digest(request_id.data(), request_id.size(), digest, nullptr, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest), 16);
}

ExperimentResults EmptyResults(const Experiment& experiment) {
  double total = 0;
  for (const Arm& arm : experiment.arms) total += arm.weight;
  std::vector<double> shares;
  for (const Arm& arm : experiment.arms) shares.push_back(arm.weight / total);
  return ExperimentResults(shares);
}

absl::Status CheckOutcome(const precis::v1::Outcome& outcome) {
  const int index = FindOutcome(outcome.name());
  if (index < 0 || !Info(static_cast<OutcomeId>(index)).from_caller) {
    return absl::InvalidArgumentError(StrCat("outcome '", outcome.name(), "' is not known; a caller may give thumbs (0 or 1), edit_ratio (0 to 1) and score"));
  }
  const OutcomeInfo& info = Info(static_cast<OutcomeId>(index));
  const double value = outcome.value();
  if (!(value >= info.low && value <= info.high) || (info.share && value != 0 && value != 1)) {
    return absl::InvalidArgumentError(StrCat("outcome '", outcome.name(), "' is ", value, "; ",
                                             info.share ? StrCat("0 or 1 is allowed") : StrCat(info.low, " to ", info.high, " is allowed")));
  }
  return absl::OkStatus();
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

ExperimentTracker::~ExperimentTracker() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status ExperimentTracker::Restore() {
  if (file_ == nullptr) return absl::OkStatus();
  absl::StatusOr<StoredState> state = file_->Load();
  if (!state.ok()) return state.status();
  absl::MutexLock lock(&mutex_);
  for (StoredResults& r : state->results) stored_[{r.experiment, r.fingerprint}] = std::move(r.bytes);
  stored_stops_ = std::move(state->stops);
  for (AssignedRequest& request : state->requests) Remember(std::move(request));
  changed_.clear();
  return absl::OkStatus();
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

void ExperimentTracker::OnRequest(const Experiment& experiment, std::string_view arm, std::string_view unit, std::string_view request_id,
                                  Observation observation) {
  const uint64_t hash = StatisticsHash(experiment, unit);
  observation.group = static_cast<int>(hash % stats::kGroups);
  const std::string fingerprint = experiment.Fingerprint();
  AssignedRequest request{KeyOf(request_id), experiment.name, fingerprint, experiment.ArmIndex(arm), observation.group, observation.prompt_tokens, Now(), 0};
  absl::MutexLock lock(&mutex_);
  Live* live = Find(experiment.name);
  // A request that began before a reload changed the experiment belongs to what is gone.
  if (live == nullptr || live->fingerprint != fingerprint || request.arm < 0) return;
  live->results.AddRequest(request.arm, hash, observation, request.unix_seconds);
  live->dirty = true;
  Remember(std::move(request));
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

void ExperimentTracker::Remember(AssignedRequest request) {
  const int64_t expired = request.unix_seconds - absl::ToInt64Seconds(options_.outcome_window);
  while (!open_order_.empty() && (open_order_.size() >= options_.max_open_requests || open_order_.front().first < expired)) {
    open_.erase(open_order_.front().second);
    changed_.erase(open_order_.front().second);
    open_order_.pop_front();
  }
  open_order_.emplace_back(request.unix_seconds, request.key);
  if (file_ != nullptr) changed_.insert(request.key);
  std::string key = request.key;
  open_.insert_or_assign(std::move(key), std::move(request));
}

absl::StatusOr<precis::v1::RecordOutcomeResponse> ExperimentTracker::Count(const precis::v1::RecordOutcomeRequest& request) {
  precis::v1::RecordOutcomeResponse response;
  const auto it = open_.find(KeyOf(request.request_id()));
  if (it == open_.end() || it->second.unix_seconds < Now() - absl::ToInt64Seconds(options_.outcome_window)) {
    return absl::NotFoundError(StrCat("request '", request.request_id(), "' is not known to this server's experiments: it was in none, was answered elsewhere or ",
                                      "more than ", absl::FormatDuration(options_.outcome_window), " ago"));
  }
  AssignedRequest& assigned = it->second;
  response.set_experiment(assigned.experiment);
  Live* live = Find(assigned.experiment);
  if (live == nullptr || live->fingerprint != assigned.fingerprint) {
    return absl::NotFoundError(StrCat("the experiment '", assigned.experiment, "' that request '", request.request_id(), "' was in is over or was changed"));
  }
  response.set_arm(live->experiment.arms[static_cast<size_t>(assigned.arm)].name);
  for (const precis::v1::Outcome& outcome : request.outcomes()) {
    const int index = FindOutcome(outcome.name());
    const uint32_t bit = uint32_t{1} << index;
    if (assigned.recorded & bit) {
      response.set_already_known(response.already_known() + 1);
      continue;
    }
    assigned.recorded |= bit;
    Observation observation{assigned.group, assigned.prompt_tokens, {{static_cast<OutcomeId>(index), outcome.value()}}};
    live->results.AddOutcome(assigned.arm, observation);
    live->dirty = true;
    response.set_counted(response.counted() + 1);
  }
  if (response.counted() > 0 && file_ != nullptr) changed_.insert(assigned.key);
  return response;
}

void ExperimentTracker::RecordOutcome(const precis::v1::RecordOutcomeRequest& request, Recorded done) {
  if (request.request_id().empty()) return done(absl::InvalidArgumentError("request_id is empty; give the one that the reply carried"));
  if (request.outcomes().empty() || static_cast<size_t>(request.outcomes_size()) > kMaxOutcomesInCall) {
    return done(absl::InvalidArgumentError(StrCat(request.outcomes_size(), " outcomes given; 1 to ", kMaxOutcomesInCall, " are allowed")));
  }
  for (const precis::v1::Outcome& outcome : request.outcomes()) {
    if (absl::Status s = CheckOutcome(outcome); !s.ok()) return done(s);
  }
  absl::StatusOr<precis::v1::RecordOutcomeResponse> response = absl::UnknownError("");
  {
    absl::MutexLock lock(&mutex_);
    response = Count(request);
    // What was known already may be waiting to be written as well: answered after the next flush, too.
    if (response.ok() && file_ != nullptr && !stop_) {
      waiting_.push_back({std::move(done), *std::move(response)});
      return;
    }
  }
  done(std::move(response));
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
    if (!live->stops.emplace(arm, stop).second) return absl::OkStatus();
    new_stops_.push_back(stop);
  }
  if (events_.on_stop != nullptr) events_.on_stop(experiment, stop);
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
    for (const auto& [arm, stop] : live->stops) {
      precis::v1::Decision* decision = tail.add_decisions();
      decision->set_unix_seconds(stop.unix_seconds);
      decision->set_arm(arm);
      decision->set_guardrail(stop.guardrail);
      decision->set_detail(stop.detail);
    }
    tail.mutable_history()->Add(live->history.begin(), live->history.end());
  }
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
    ExperimentResults results;
    {
      absl::MutexLock lock(&mutex_);
      const Live* live = Find(name);
      if (live == nullptr) continue;
      experiment = live->experiment;
      results = live->results;
    }
    for (const Breach& breach : FindBreaches(experiment, results)) (void)Stop(name, breach.arm, breach.guardrail, breach.detail);
    absl::StatusOr<precis::v1::Report> report = Report(name);
    if (!report.ok()) continue;
    if (events_.on_report != nullptr) events_.on_report(*report);
    absl::MutexLock lock(&mutex_);
    Live* live = Find(name);
    if (live == nullptr) continue;
    for (const precis::v1::ArmReport& arm : report->arms()) {
      for (const precis::v1::Effect& effect : arm.effects()) {
        if (effect.outcome() != experiment.analysis.primary || effect.statistic() != "p50" || !effect.not_yet().empty()) continue;
        precis::v1::HistoryPoint point;
        point.set_unix_seconds(Now());
        point.set_arm(arm.name());
        point.set_lift(effect.lift());
        point.set_low(effect.low());
        point.set_high(effect.high());
        point.set_units(arm.units());
        live->history.push_back(std::move(point));
      }
    }
    // Half as dense where it is old, so that the whole run stays in sight.
    while (live->history.size() > kHistoryPoints) {
      std::deque<precis::v1::HistoryPoint> thinned;
      std::map<std::string, int> seen;
      for (precis::v1::HistoryPoint& point : live->history) {
        const int index = seen[point.arm()]++;
        if (index % 2 == 0) thinned.push_back(std::move(point));
      }
      live->history = std::move(thinned);
    }
  }
}

StoredState ExperimentTracker::TakeChanges() {
  StoredState changes;
  changes.results.swap(departed_);
  for (auto& [name, live] : live_) {
    if (live.dirty) changes.results.push_back({name, live.fingerprint, live.results.Serialize()});
    live.dirty = false;
  }
  for (const std::string& key : changed_) {
    const auto it = open_.find(key);
    if (it != open_.end()) changes.requests.push_back(it->second);
  }
  changed_.clear();
  changes.stops.swap(new_stops_);
  return changes;
}

void ExperimentTracker::PutBack(const StoredState& changes) {
  for (const StoredResults& r : changes.results) {
    if (Live* live = Find(r.experiment); live != nullptr && live->fingerprint == r.fingerprint) {
      live->dirty = true;
    } else {
      departed_.push_back(r);
    }
  }
  for (const AssignedRequest& request : changes.requests) {
    if (open_.contains(request.key)) changed_.insert(request.key);
  }
  new_stops_.insert(new_stops_.begin(), changes.stops.begin(), changes.stops.end());
}

absl::Status ExperimentTracker::Flush() {
  absl::MutexLock flushing(&flush_mutex_);
  StoredState changes;
  std::vector<Waiting> waiting;
  {
    absl::MutexLock lock(&mutex_);
    if (file_ != nullptr) changes = TakeChanges();
    waiting.swap(waiting_);
  }
  absl::Status status;
  if (!changes.results.empty() || !changes.requests.empty() || !changes.stops.empty()) {
    status = file_->Save(changes, Now() - absl::ToInt64Seconds(options_.outcome_window));
  }
  if (!status.ok()) {
    absl::MutexLock lock(&mutex_);
    PutBack(changes);
  }
  if (!status.ok() && events_.on_save_failed != nullptr) events_.on_save_failed(status);
  for (Waiting& call : waiting) {
    if (status.ok()) {
      call.done(std::move(call.response));
    } else {
      call.done(status);
    }
  }
  return status;
}

void ExperimentTracker::Run() {
  absl::Time next_check = absl::Now() + options_.check_interval;
  const auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !waiting_.empty(); };
  bool stop = false;
  while (!stop) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&wake), options_.flush_interval);
      stop = stop_;
    }
    (void)Flush();
    if (stop || absl::Now() < next_check) continue;
    Check();
    next_check = absl::Now() + options_.check_interval;
  }
}

}  // namespace precis::server
