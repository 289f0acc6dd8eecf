// Traffic that an experiment splits.
#include <map>
#include <set>

#include "server/experiments/assignment.h"
#include "tests/server/service_fixture.h"

namespace precis::server {
namespace {

using precis::v1::SummarizeRequest;
using precis::v1::SummarizeResponse;

TEST_F(ServiceTest, ExperimentsAssignByUnitAndLabelTheEngine) {
  Experiment experiment;
  experiment.name = "e";
  experiment.salt = "s";
  experiment.arms = {{"control", 1, "standard", ""}, {"alibi", 1, "flash_alibi", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  std::map<std::string, int> arms;
  for (int i = 0; i < 40; ++i) {
    SummarizeRequest request = Request();
    request.set_unit_id(StrCat("unit-", i));
    const Arm& expected = ChooseArm(experiment, request.unit_id());
    const Outcome outcome = Call(request);
    ASSERT_TRUE(outcome.status.ok());
    EXPECT_EQ(outcome.response.assignment().arm(), expected.name);
    EXPECT_EQ(outcome.response.assignment().experiment(), "e");
    EXPECT_EQ(outcome.response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_ASSIGNED);
    EXPECT_EQ(outcome.response.assignment().config_generation(), 1u);
    EXPECT_EQ(outcome.response.attention_backend(), expected.attention_backend);
    EXPECT_EQ(Initial(*outcome.context, "precis-arm"), expected.name);
    EXPECT_EQ(engine_->submitted().back().labels.arm, expected.name);
    ++arms[expected.name];
  }
  EXPECT_EQ(arms.size(), 2u);
  EXPECT_EQ(metrics_.Count("assigned e/control assigned"), arms["control"]);
  EXPECT_EQ(metrics_.Count("rpc news flash_alibi e/alibi OK"), arms["alibi"]) << metrics_.All();

  SummarizeRequest forced = Request();
  forced.set_attention_backend("flash");
  const Outcome outcome = Call(forced);
  EXPECT_EQ(outcome.response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_FORCED);
  EXPECT_EQ(outcome.response.attention_backend(), "flash");
  EXPECT_EQ(engine_->submitted().back().labels.arm, "none");
  EXPECT_EQ(metrics_.Count("assigned e/none forced"), 1) << metrics_.All();

  // "plain" has no ALiBi checkpoint: units of that arm get the model's default and don't count for the arm.
  int fallbacks = 0;
  for (int i = 0; i < 40; ++i) {
    SummarizeRequest request = Request();
    request.set_unit_id(StrCat("unit-", i));
    request.set_model("plain");
    const Outcome plain = Call(request);
    ASSERT_TRUE(plain.status.ok()) << plain.status.error_message();
    if (plain.response.assignment().reason() != precis::v1::ASSIGNMENT_REASON_FALLBACK) continue;
    ++fallbacks;
    EXPECT_EQ(plain.response.assignment().arm(), "alibi");
    EXPECT_EQ(plain.response.attention_backend(), "flash");
    EXPECT_EQ(engine_->submitted().back().labels.arm, "none");
  }
  EXPECT_EQ(fallbacks, arms["alibi"]);
}

TEST_F(ServiceTest, AnExperimentOnAModelTakesRequestsThatItWouldServe) {
  Experiment experiment;
  experiment.name = "e";
  experiment.model = "news";
  experiment.arms = {{"a", 1, "standard", ""}, {"b", 1, "flash", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  EXPECT_EQ(Call(Request()).response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_ASSIGNED);
  SummarizeRequest other = Request();
  other.set_model("plain");
  EXPECT_EQ(Call(other).response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_NONE);
}

TEST_F(ServiceTest, HomogeneousArmsHaveBatchesOfTheirOwn) {
  Experiment experiment;
  experiment.name = "e";
  experiment.batching = Batching::kHomogeneous;
  experiment.arms = {{"a", 1, "standard", ""}, {"b", 1, "flash", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  std::map<std::string, std::set<uint64_t>> groups;
  for (int i = 0; i < 30; ++i) {
    SummarizeRequest request = Request();
    request.set_unit_id(StrCat("unit-", i));
    ASSERT_TRUE(Call(request).status.ok());
    const runtime::Request submitted = engine_->submitted().back();
    groups[submitted.labels.arm].insert(submitted.batch_group);
  }
  SummarizeRequest forced = Request();
  forced.set_attention_backend("flash");
  ASSERT_TRUE(Call(forced).status.ok());
  EXPECT_EQ(engine_->submitted().back().batch_group, 0u) << "everybody else's";
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups["a"].size(), 1u);
  EXPECT_EQ(groups["b"].size(), 1u);
  EXPECT_NE(*groups["a"].begin(), *groups["b"].begin());
  EXPECT_NE(*groups["a"].begin() * *groups["b"].begin(), 0u);
}

TEST_F(ServiceTest, TheUnitMayComeFromMetadata) {
  Experiment experiment;
  experiment.name = "e";
  experiment.arms = {{"a", 1, "standard", ""}, {"b", 1, "flash", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    context.AddMetadata("precis-unit-id", StrCat("u", i));
    SummarizeRequest request = Request();
    request.set_client_request_id("ignored");
    SummarizeResponse response;
    ASSERT_TRUE(stub_->Summarize(&context, request, &response).ok());
    EXPECT_EQ(response.assignment().arm(), ChooseArm(experiment, StrCat("u", i)).name);
  }
}

}  // namespace
}  // namespace precis::server
