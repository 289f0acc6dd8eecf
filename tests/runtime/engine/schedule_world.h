#ifndef PRECIS_TESTS_RUNTIME_ENGINE_SCHEDULE_WORLD_H_
#define PRECIS_TESTS_RUNTIME_ENGINE_SCHEDULE_WORLD_H_

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "runtime/cache/kv_cache.h"
#include "runtime/scheduler/scheduler.h"
#include "tests/support/fake_model.h"

namespace precis::testing {

// One random schedule under a virtual clock: requests of random sizes, priorities and deadlines come, are cancelled and run on the fake
// model in real (tiny) pages, and every promise of the scheduler is checked at every step. The first broken promise is `problem`.
class ScheduleWorld {
 public:
  explicit ScheduleWorld(uint64_t seed);
  // Empty if every promise held.
  std::string Run();

  struct Counts {
    int64_t requests = 0, refused = 0, completed = 0, cancelled = 0, expired = 0, preemptions = 0, cached = 0,
            steps = 0, ahead = 0, replays = 0, beams = 0, beam_preemptions = 0, copies = 0, turns = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  // The fake models'.
  static constexpr int kVocabulary = 12, kEndOfText = 0, kContext = 160;

  struct Request {
    runtime::SequenceSpec spec;
    absl::Time submitted;
    runtime::GenerationOptions options;
    std::unique_ptr<runtime::BeamSearch> search;  // if spec.beams > 1
    bool cancel_asked = false;
    int ends = 0;
  };

  int Uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }
  void Fail(const std::string& problem);

  void MakeOptions();
  void RandomEvents();
  void SubmitOne();
  void CancelOne();
  void Expire();
  void Step();
  void RunRows(const runtime::Plan& plan);
  void RunAhead(std::vector<runtime::PlannedRow> rows);
  std::vector<int32_t> RunFollowers(const std::vector<runtime::PlannedRow>& rows, const std::vector<int>& after, const std::vector<int32_t>& tokens);
  void RunRow(const runtime::PlannedRow& row, int32_t* token, std::vector<float>* logits, const int32_t* ahead_of = nullptr);
  void TakeToken(runtime::Sequence* sequence, int32_t token);
  void TakeBeams(runtime::Sequence* sequence, std::vector<std::vector<float>>* logits);
  void Ended(const runtime::Sequence& sequence, bool completed);
  void CheckEndedEarly(const runtime::Sequence& sequence);
  void CheckRow(const runtime::PlannedRow& row, const std::set<runtime::SequenceId>& running_before);
  void CheckPlan(const runtime::Plan& plan, const std::set<runtime::SequenceId>& running_before);
  void CheckGroups(const runtime::Plan& plan, const std::set<std::pair<const runtime::Sequence*, int>>& planned);
  void CheckNoStarvation(const std::set<runtime::SequenceId>& running_before);
  void CheckBounds();
  std::vector<int32_t> Alone(const runtime::SequenceSpec& spec);
  // With beams: the tokens of all branches after each step, then the summary.
  using Branches = std::vector<std::vector<int32_t>>;
  std::vector<Branches> BeamsAlone(const Request& request);
  void CheckBeamTokens(const Request& request, const runtime::Sequence& sequence, bool completed);

  std::mt19937_64 random_;
  absl::Time now_ = absl::UnixEpoch();
  runtime::SchedulerOptions options_;
  runtime::GenerationOptions generation_;
  std::vector<std::unique_ptr<FakeRunner>> runners_;
  std::vector<std::vector<char>> memory_;
  std::unique_ptr<runtime::KvCache> cache_;
  std::unique_ptr<runtime::Scheduler> scheduler_;
  double beam_share_ = 0;
  bool ahead_ = false;  // steps are launched before those before them are completed
  int groups_ = 0;  // of batches, besides the common one
  std::map<runtime::SequenceId, int> left_out_;  // plans in a row that a decoding request was not in
  std::vector<std::vector<int32_t>> documents_;  // whose beginnings are shared
  std::map<runtime::SequenceId, Request> requests_;
  int to_submit_ = 0;
  double arrival_ = 0;
  Counts counts_;
  std::string problem_;
};

}  // namespace precis::testing

#endif  // PRECIS_TESTS_RUNTIME_ENGINE_SCHEDULE_WORLD_H_
