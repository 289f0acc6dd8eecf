#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>

#include "client/load/plot.h"
#include "client/load/report.h"
#include "client/load/runner.h"
#include "client/load/svg.h"
#include "client/load/workload.h"
#include "tests/support/fake_summarizer.h"

namespace precis::load {
namespace {

using ::testing::HasSubstr;

TEST(PercentileTest, IsNearestRank) {
  std::vector<double> values;
  for (int i = 1; i <= 100; ++i) values.push_back(i);
  EXPECT_EQ(Percentile(values, 50), 50);
  EXPECT_EQ(Percentile(values, 99), 99);
  EXPECT_EQ(Percentile(values, 100), 100);
  EXPECT_EQ(Percentile({7}, 1), 7);
  EXPECT_EQ(Percentile({}, 50), 0);
}

TEST(WorkloadTest, MixFollowsTheWeightsAndTheSeed) {
  Options options;
  options.backends = "flash:3,standard:1";
  auto one = Workload::Create(options), two = Workload::Create(options);
  ASSERT_TRUE(one.ok()) << one.status();
  std::map<std::string, int> counts;
  for (int i = 0; i < 8000; ++i) {
    const v1::SummarizeRequest request = one->NextRequest();
    ++counts[request.attention_backend()];
    ASSERT_EQ(request.SerializeAsString(), two->NextRequest().SerializeAsString());
  }
  // Five standard deviations of the binomial distribution.
  EXPECT_NEAR(counts["flash"], 6000, 5 * std::sqrt(8000 * 0.75 * 0.25));
}

TEST(WorkloadTest, GapsAreExponential) {
  auto workload = Workload::Create(Options());
  double sum = 0, squares = 0;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    const double gap = absl::ToDoubleSeconds(workload->NextGap(4));
    sum += gap;
    squares += gap * gap;
  }
  EXPECT_NEAR(sum / n, 0.25, 5 * 0.25 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 2 * 0.25 * 0.25, 0.01);  // the second moment of an exponential
}

TEST(WorkloadTest, BadFlagsSayWhatIsAllowed) {
  Options options;
  options.backends = "flash:zero";
  EXPECT_THAT(Workload::Create(options).status().message(), HasSubstr("NAME:WEIGHT"));
  options.backends = "";
  options.synthetic = "9-3";
  EXPECT_THAT(Workload::Create(options).status().message(), HasSubstr("LOW-HIGH"));
  options.synthetic = "10";
  options.files = {"/no/such/file"};
  EXPECT_THAT(Workload::Create(options).status().message(), HasSubstr("/no/such/file"));
}

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() {
    options_.quiet = true;
    options_.synthetic = "3";
    options_.duration = "1s";
    client_ = *client::SummarizerClient::Create({.address = fake_.address()});
    workload_ = std::make_unique<Workload>(*Workload::Create(options_));
  }
  Runner MakeRunner() { return Runner(options_, workload_.get(), client_.get(), &interrupted_); }

  testing::FakeSummarizer fake_;
  Options options_;
  std::atomic<bool> interrupted_ = false;
  std::unique_ptr<client::SummarizerClient> client_;
  std::unique_ptr<Workload> workload_;
};

TEST_F(RunnerTest, OpenLoopMeasuresFromTheIntendedArrival) {
  // Each answer takes 3 * 20 ms, so that a client that waited for answers could not send 100/s.
  fake_.SetWordDelay(absl::Milliseconds(20));
  Runner runner = MakeRunner();
  const Stage stage = runner.RunOpenLoop(100);
  const Summary all = stage.All();
  EXPECT_NEAR(static_cast<double>(all.requests), 100, 50);
  EXPECT_EQ(all.ok, all.requests);
  EXPECT_GE(all.latency.sorted.front(), 0.06);
  EXPECT_GE(all.time_to_first_token.sorted.front(), 0.02);
  EXPECT_EQ(all.inter_token.sorted.size(), 2 * all.latency.sorted.size());
  EXPECT_EQ(all.new_tokens, 3 * all.ok);
  EXPECT_EQ(stage.ByBackend().count("flash"), 1u);
}

TEST_F(RunnerTest, BoundsDropRatherThanDelay) {
  fake_.SetWordDelay(absl::Milliseconds(300));
  options_.max_in_flight = 5;
  Runner runner = MakeRunner();
  const Summary all = runner.RunOpenLoop(200).All();
  EXPECT_GT(all.errors.at("DROPPED"), 50);
  EXPECT_LE(all.ok, 15);
  options_.max_requests = 7;
  EXPECT_EQ(runner.RunOpenLoop(200).All().requests, 7);
}

TEST_F(RunnerTest, ClosedLoopKeepsItsConcurrencyAndCountsErrors) {
  fake_.FailNext({{grpc::StatusCode::RESOURCE_EXHAUSTED, "full", "10"}});
  fake_.SetWordDelay(absl::Milliseconds(10));
  options_.concurrency = 4;
  Runner runner = MakeRunner();
  const Stage stage = runner.RunClosedLoop();
  const Summary all = stage.All();
  EXPECT_EQ(all.errors.at("RESOURCE_EXHAUSTED"), 1);
  EXPECT_GT(all.ok, 20);
  EXPECT_LE(all.requests, 4 * 1000 / 30 + 8);  // 4 at a time, 30 ms each
  const cli::Json json = ReportJson(options_, {stage});
  EXPECT_EQ(json["stages"][0]["all"]["ok"], all.ok);
  EXPECT_THAT(ReportTable({stage}), HasSubstr("RESOURCE_EXHAUSTED 1"));
}

TEST_F(RunnerTest, InterruptionEndsTheArrivals) {
  options_.duration = "1h";
  interrupted_ = true;
  Runner runner = MakeRunner();
  EXPECT_EQ(runner.RunOpenLoop(10).All().requests, 0);
}

TEST_F(RunnerTest, WarmUpReportsAServerThatIsGone) {
  fake_.Stop();
  Runner runner = MakeRunner();
  EXPECT_THAT(runner.WarmUp().message(), HasSubstr("is precis-server running?"));
}

Stage MakeStage(double rate, double latency) {
  Stage stage{.rate = rate, .seconds = 1};
  for (int i = 1; i <= 1000; ++i) {
    stage.samples.push_back({.backend = i % 2 == 0 ? "flash" : "a<b>&c",
                             .code = "OK",
                             .latency = latency * i,
                             .time_to_first_token = latency * i / 4,
                             .gaps = {0.001f}});
  }
  return stage;
}

TEST(SvgTest, IsBoundedEscapedAndFinite) {
  const std::string svg = DrawSvg({MakeStage(1, 0.001), MakeStage(2, 0.002), Stage{.rate = 3, .seconds = 1}}, "t & t");
  EXPECT_THAT(svg, HasSubstr("a&lt;b&gt;&amp;c"));
  EXPECT_THAT(svg, HasSubstr("Latency over the rate"));
  EXPECT_THAT(svg, ::testing::Not(HasSubstr("nan")));
  EXPECT_THAT(svg, ::testing::Not(HasSubstr("inf\"")));
  EXPECT_THAT(svg, ::testing::EndsWith("</svg>\n"));
  EXPECT_LT(svg.size(), 100000u);
}

TEST(FormatSecondsTest, PicksTheUnit) {
  EXPECT_EQ(FormatSeconds(0.00025), "250 µs");
  EXPECT_EQ(FormatSeconds(0.02), "20 ms");
  EXPECT_EQ(FormatSeconds(1), "1 s");
  EXPECT_EQ(FormatSeconds(0.001), "1 ms");
}

}  // namespace
}  // namespace precis::load
