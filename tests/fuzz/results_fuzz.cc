// The input is what a peer (or a damaged state file) gives as an experiment's results. What is read is written again as it was, adds up with others and
// makes a report; what isn't is refused. An odd first byte: the bytes themselves; else the rest makes results, whose bytes it then damages.
#include <cstdint>
#include <string>
#include <string_view>

#include "server/experiments/report.h"
#include "server/experiments/results.h"
#include "tests/fuzz/memory_file.h"

namespace precis::server {
namespace {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t Byte() { return at_ < size_ ? data_[at_++] : 0; }
  bool empty() const { return at_ >= size_; }

 private:
  const uint8_t* const data_;
  const size_t size_;
  size_t at_ = 0;
};

std::string MakeBytes(Input* in) {
  ExperimentResults results(std::vector<double>(2 + in->Byte() % 3, 1.0 / 3));
  for (int i = 0; i < 200 && !in->empty(); ++i) {
    Observation observation;
    observation.group = in->Byte();
    observation.prompt_tokens = in->Byte();
    observation.values = {{static_cast<OutcomeId>(in->Byte() % kOutcomes), in->Byte() / 16.0}};
    const int arm = in->Byte() % static_cast<int>(results.arms.size());
    results.AddRequest(arm, in->Byte() * 0x9e3779b97f4a7c15u, observation, 1 + in->Byte());
    if (in->Byte() == 0) break;
  }
  std::string bytes = results.Serialize();
  while (!in->empty()) {
    const size_t at = (in->Byte() * size_t{256} + in->Byte()) % bytes.size();
    bytes[at] = static_cast<char>(in->Byte());
  }
  return bytes;
}

Experiment WithArms(size_t arms) {
  Experiment experiment;
  experiment.name = "e";
  for (size_t i = 0; i < arms; ++i) experiment.arms.push_back({std::string(1, static_cast<char>('a' + i)), 1, "flash", "", {}});
  experiment.analysis.min_units = 1;
  experiment.analysis.planned_units = 1;
  return experiment;
}

void Check(const std::string& bytes) {
  const absl::StatusOr<ExperimentResults> results = ExperimentResults::Parse(bytes);
  if (!results.ok()) return Require(absl::IsInvalidArgument(results.status()), "another code");
  const std::string again = results->Serialize();
  const absl::StatusOr<ExperimentResults> twice = ExperimentResults::Parse(again);
  Require(twice.ok() && twice->Serialize() == again, "what was read is not written as it can be read");
  const size_t arms = results->arms.size();
  if (arms < 2 || arms > 16) return;  // no such experiment
  ExperimentResults own(std::vector<double>(arms, 1.0 / static_cast<double>(arms)));
  own.Merge(*results);
  own.Merge(*twice);
  const Experiment experiment = WithArms(arms);
  const precis::v1::Report report = MakeReport(experiment, own);
  Require(report.arms_size() == static_cast<int>(arms), "an arm is missing");
  (void)FindBreaches(experiment, own);
}

}  // namespace
}  // namespace precis::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace precis::server;  // NOLINT: the target is this namespace's
  if (size == 0) return 0;
  Input in(data + 1, size - 1);
  Check(data[0] % 2 == 1 ? std::string(reinterpret_cast<const char*>(data) + 1, size - 1) : MakeBytes(&in));
  return 0;
}
