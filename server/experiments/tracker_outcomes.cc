// What requests and callers report.
#include <openssl/evp.h>

#include "absl/time/clock.h"
#include "server/experiments/assignment.h"
#include "server/experiments/tracker.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kMaxOutcomesInCall = 16;

std::string KeyOf(std::string_view request_id) {
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  EVP_Digest(request_id.data(), request_id.size(), digest, nullptr, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest), 16);
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

}  // namespace

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

}  // namespace precis::server
