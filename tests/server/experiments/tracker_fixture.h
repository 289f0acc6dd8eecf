#ifndef PRECIS_TESTS_SERVER_EXPERIMENTS_TRACKER_FIXTURE_H_
#define PRECIS_TESTS_SERVER_EXPERIMENTS_TRACKER_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "server/experiments/assignment.h"
#include "server/experiments/tracker.h"
#include "server/text.h"

namespace precis::server {

inline std::shared_ptr<const ExperimentConfig> TwoArms(std::string salt = "s") {
  auto config = std::make_shared<ExperimentConfig>();
  Experiment e;
  e.name = "e";
  e.salt = std::move(salt);
  e.arms = {{"control", 1, "standard", "", {}}, {"flash", 1, "flash", "", {}}};
  config->experiments = {e};
  return config;
}

inline Observation Latency(double seconds) {
  Observation out;
  out.prompt_tokens = 100;
  out.values = {{OutcomeId::kError, 0}, {OutcomeId::kTotalSeconds, seconds}};
  return out;
}

inline Observation Failure() {
  Observation out;
  out.values = {{OutcomeId::kError, 1}};
  return out;
}

inline precis::v1::RecordOutcomeRequest OutcomeOf(const std::string& id, const std::string& name, double value) {
  precis::v1::RecordOutcomeRequest request;
  request.set_request_id(id);
  precis::v1::Outcome* outcome = request.add_outcomes();
  outcome->set_name(name);
  outcome->set_value(value);
  return request;
}

class TrackerTest : public ::testing::Test {
 protected:
  TrackerTest() {
    std::string name = ::testing::TempDir() + "/tracker-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~TrackerTest() override { std::system(("rm -rf " + directory_).c_str()); }

  // Nothing happens by itself but what outcomes ask for.
  static ExperimentTracker::Options Quiet(const std::string& file = "") {
    ExperimentTracker::Options options;
    options.state_file = file;
    options.flush_interval = absl::Hours(1);
    options.check_interval = absl::Hours(1);
    return options;
  }

  std::unique_ptr<ExperimentTracker> Open(ExperimentTracker::Options options, std::shared_ptr<const ExperimentConfig> config = TwoArms()) {
    ExperimentTracker::Events events;
    events.on_stop = [this](const std::string&, const StoredStop& stop) { stops_.push_back(stop); };
    auto tracker = ExperimentTracker::Create(std::move(options), std::move(events));
    EXPECT_TRUE(tracker.ok()) << tracker.status();
    config_ = std::move(config);
    (*tracker)->SetConfig(config_);
    return *std::move(tracker);
  }

  const Experiment& experiment() const { return config_->experiments[0]; }

  // A request of a unit, on the arm that it is assigned to.
  std::string Request(ExperimentTracker* tracker, const std::string& unit, const std::string& id, Observation observation) {
    const std::string arm = ChooseArm(experiment(), unit).name;
    tracker->OnRequest(experiment(), arm, unit, id, std::move(observation));
    return arm;
  }

  static absl::StatusOr<precis::v1::RecordOutcomeResponse> Record(ExperimentTracker* tracker, const precis::v1::RecordOutcomeRequest& request) {
    absl::StatusOr<precis::v1::RecordOutcomeResponse> out = absl::UnknownError("");
    absl::Notification done;
    tracker->RecordOutcome(request, [&](absl::StatusOr<precis::v1::RecordOutcomeResponse> result) {
      out = std::move(result);
      done.Notify();
    });
    done.WaitForNotification();
    return out;
  }

  static int64_t Requests(const precis::v1::Report& report) {
    int64_t n = 0;
    for (const auto& arm : report.arms()) n += arm.requests();
    return n;
  }

  std::string directory_;
  std::shared_ptr<const ExperimentConfig> config_;
  std::vector<StoredStop> stops_;
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_EXPERIMENTS_TRACKER_FIXTURE_H_
