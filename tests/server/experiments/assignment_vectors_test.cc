// Published vectors of assignment, which the Python client is held to as well: data/assignment_vectors.json.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "server/experiments/assignment.h"

namespace precis::server {
namespace {

TEST(AssignmentVectors, AreOurs) {
  std::ifstream stream(PRECIS_SOURCE_DIR "/tests/server/experiments/data/assignment_vectors.json");
  const nlohmann::json golden = nlohmann::json::parse(stream);
  const std::vector<uint32_t> shares = golden["shares_ppm"];
  ASSERT_GT(golden["vectors"].size(), 100u);
  for (const auto& vector : golden["vectors"]) {
    const std::string salt = vector["salt"], unit = vector["unit"];
    Experiment experiment;
    experiment.salt = salt;
    for (const auto& weight : vector["weights"]) experiment.arms.push_back({weight[0], weight[1], "flash", "", {}});
    EXPECT_EQ(absl::StrFormat("%016x", AssignmentHash(salt, unit)), vector["hash"]) << vector;
    EXPECT_EQ(ChooseArm(experiment, unit).name, vector["arm"]) << vector;
    EXPECT_EQ(LayerSlot(salt, unit), vector["slot"]) << vector;
    for (size_t i = 0; i < shares.size(); ++i) EXPECT_EQ(InRamp(salt, unit, shares[i]), vector["in_ramp"][i]) << vector;
  }
}

}  // namespace
}  // namespace precis::server
