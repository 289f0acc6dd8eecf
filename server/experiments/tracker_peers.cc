// What other servers of the same experiments found, and what is remembered of reports.
#include <algorithm>
#include <map>
#include <utility>

#include "server/experiments/tracker.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kHistoryPoints = 240;  // of all arms together

}  // namespace

void ExperimentTracker::OnPeers(const std::string& experiment, const std::string& fingerprint, std::vector<ExperimentResults> results,
                                const std::vector<precis::v1::Decision>& stops) {
  std::vector<StoredStop> theirs;
  {
    absl::MutexLock lock(&mutex_);
    Live* live = Find(experiment);
    if (live == nullptr || live->fingerprint != fingerprint) return;
    const Experiment& config = live->experiment;
    const auto unfit = [&](const ExperimentResults& r) { return r.arms.size() != config.arms.size(); };
    results.erase(std::remove_if(results.begin(), results.end(), unfit), results.end());
    live->peers = std::move(results);
    for (const precis::v1::Decision& stop : stops) {
      const bool known = stop.arm().empty() || (config.ArmIndex(stop.arm()) >= 0 && stop.arm() != config.control_arm().name);
      if (!known || live->stops.contains(stop.arm())) continue;
      theirs.push_back({experiment, fingerprint, stop.arm(), stop.guardrail(), StrCat(stop.detail(), " (on a peer)"), stop.unix_seconds()});
    }
  }
  for (StoredStop& stop : theirs) (void)Adopt(std::move(stop));
}

std::vector<precis::v1::Decision> ExperimentTracker::Stops(const std::string& experiment) const {
  std::vector<precis::v1::Decision> out;
  absl::MutexLock lock(&mutex_);
  const Live* live = Find(experiment);
  if (live == nullptr) return out;
  for (const auto& [arm, stop] : live->stops) {
    precis::v1::Decision& decision = out.emplace_back();
    decision.set_unix_seconds(stop.unix_seconds);
    decision.set_arm(arm);
    decision.set_guardrail(stop.guardrail);
    decision.set_detail(stop.detail);
  }
  return out;
}

void ExperimentTracker::AddHistory(const precis::v1::Report& report) {
  absl::MutexLock lock(&mutex_);
  Live* live = Find(report.experiment().name());
  if (live == nullptr) return;
  for (const precis::v1::ArmReport& arm : report.arms()) {
    for (const precis::v1::Effect& effect : arm.effects()) {
      if (effect.outcome() != live->experiment.analysis.primary || effect.statistic() != "p50" || !effect.not_yet().empty()) continue;
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

}  // namespace precis::server
