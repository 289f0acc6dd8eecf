// A process that counts is killed at random, again and again: nothing is counted twice, nothing that was answered is lost. 25 kills;
// PRECIS_TEST_FULL=1 kills 500 times.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <random>

#include "absl/time/clock.h"
#include "tests/server/experiments/tracker_fixture.h"

namespace precis::server {
namespace {

class StateKillTest : public TrackerTest {
 protected:
  // Counts request i (of i seconds) for i = first, first + 1, ...; records its score i. Writes i to `out` once that is answered.
  [[noreturn]] void Child(const std::string& file, int64_t first, int out) {
    ExperimentTracker::Options options = Quiet(file);
    options.flush_interval = absl::Milliseconds(3);
    const auto tracker = Open(options);
    for (int64_t i = first;; ++i) {
      Request(tracker.get(), StrCat("unit-", i % 50), StrCat("r", i), Latency(static_cast<double>(i)));
      tracker->RecordOutcome(OutcomeOf(StrCat("r", i), "score", static_cast<double>(i)), [out, i](absl::StatusOr<precis::v1::RecordOutcomeResponse> result) {
        if (!result.ok() || write(out, &i, sizeof(i)) != sizeof(i)) _exit(1);
      });
      absl::SleepFor(absl::Microseconds(200));
    }
  }

  // Sum of the outcome's values over all arms, and their number.
  static std::pair<double, int64_t> Total(ExperimentTracker* tracker, OutcomeId id) {
    const ExperimentResults results = *tracker->Results("e");
    double sum = 0;
    double count = 0;
    for (const ArmResults& arm : results.arms) {
      for (const auto& group : arm.moments[static_cast<int>(id)].groups()) {
        sum += group.y;
        count += group.n;
      }
    }
    return {sum, static_cast<int64_t>(count)};
  }
};

TEST_F(StateKillTest, NothingIsCountedTwiceAndNothingAnsweredIsLost) {
  const int kills = std::getenv("PRECIS_TEST_FULL") != nullptr ? 500 : 25;
  const std::string file = directory_ + "/state";
  std::mt19937 random(1);
  int64_t counted = 0, answered = 0;
  for (int kill_number = 0; kill_number < kills; ++kill_number) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(ends[0]);
      Child(file, counted + 1, ends[1]);
    }
    close(ends[1]);
    int64_t last = 0, answer = 0;
    ASSERT_EQ(read(ends[0], &answer, sizeof(answer)), static_cast<ssize_t>(sizeof(answer))) << "the child ended by itself";
    last = answer;
    absl::SleepFor(absl::Microseconds(random() % 40000));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (read(ends[0], &answer, sizeof(answer)) == static_cast<ssize_t>(sizeof(answer))) last = std::max(last, answer);
    close(ends[0]);
    answered = std::max(answered, last);

    const auto tracker = Open(Quiet(file));
    const auto [seconds, requests] = Total(tracker.get(), OutcomeId::kTotalSeconds);
    ASSERT_EQ(seconds, 0.5 * static_cast<double>(requests) * static_cast<double>(requests + 1)) << "exactly the requests 1 .. " << requests;
    ASSERT_GE(requests, answered) << "an answered outcome's request is lost";
    const auto [before, scores] = Total(tracker.get(), OutcomeId::kScore);
    // Whoever got no answer sends again; what was answered is known.
    for (int64_t i = counted + 1; i <= requests; ++i) {
      const auto result = Record(tracker.get(), OutcomeOf(StrCat("r", i), "score", static_cast<double>(i)));
      ASSERT_TRUE(result.ok()) << result.status();
      if (i <= last) {
        ASSERT_EQ(result->already_known(), 1) << i;
      }
    }
    const auto [after, all] = Total(tracker.get(), OutcomeId::kScore);
    ASSERT_EQ(all, requests);
    ASSERT_EQ(after, seconds);
    ASSERT_LE(scores, all);
    ASSERT_LE(before, after);
    counted = requests;
  }
  std::printf("%d kills, %ld requests\n", kills, static_cast<long>(counted));
}

}  // namespace
}  // namespace precis::server
