// The list of metrics: its rules, and that a loaded server writes all of it.
#include "server/metrics/metric_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/metrics/metrics.h"
#include "tests/server/metrics/exposition.h"
#include "tests/server/metrics/synthetic_load.h"

namespace precis::server {
namespace {

std::unique_ptr<Metrics> Make() { return Metrics::Create({"1.2.3", "abc", "g++", "avx2"}); }

TEST(MetricNamesTest, NamesFollowTheRules) {
  std::set<std::string_view> names;
  for (const MetricInfo& info : kMetrics) {
    SCOPED_TRACE(info.name);
    EXPECT_TRUE(names.insert(info.name).second) << "listed twice";
    EXPECT_TRUE(info.name.substr(0, 7) == "precis_" || info.name.substr(0, 14) == "gen_ai_server_");
    EXPECT_EQ(info.type == MetricType::kCounter,
              info.name.size() > 6 && info.name.substr(info.name.size() - 6) == "_total");
    EXPECT_EQ(info.help.back(), '.');
    EXPECT_EQ(info.type == MetricType::kHistogram, !info.buckets.empty());
    EXPECT_TRUE(std::is_sorted(info.buckets.begin(), info.buckets.end(), std::less_equal<double>()));
    for (const char* unit : {"seconds", "bytes"}) {
      EXPECT_TRUE(info.unit != unit || info.name.find(unit) != std::string_view::npos);
    }
  }
}

TEST(MetricsTest, EveryListedMetricIsWrittenByALoadedServer) {
  auto metrics = Make();
  SyntheticLoad load(metrics.get());
  for (int i = 0; i < 6000; ++i) load.Advance(absl::Milliseconds(10));
  const Exposition text(metrics->Serialize());
  for (const MetricInfo& info : kMetrics) {
    const char* type = info.type == MetricType::kCounter ? "counter"
                       : info.type == MetricType::kGauge ? "gauge"
                                                         : "histogram";
    EXPECT_TRUE(text.HasType(std::string(info.name), type)) << info.name;
  }
}

std::vector<double> BoundsOf(const Exposition& text, const std::string& name) {
  std::vector<double> bounds;
  for (const std::string& le : text.Bounds(name)) {
    if (le != "+Inf") bounds.push_back(std::atof(le.c_str()));
  }
  return bounds;
}

TEST(MetricsTest, BucketsAreTheOnesAgreed) {
  auto metrics = Make();
  SyntheticLoad load(metrics.get());
  for (int i = 0; i < 1000; ++i) load.Advance(absl::Milliseconds(10));
  const Exposition text(metrics->Serialize());
  const std::vector<double> first = {.0005, .001, .002, .005, .01, .02, .04, .06, .08, .1,
                                     .25,   .5,   .75,  1,    2.5, 5,   7.5, 10,  30};
  const std::vector<double> token = {.0005, .001, .0015, .002, .003, .004, .006, .008, .01, .025, .05,
                                     .075,  .1,   .15,   .2,   .3,   .4,   .5,   .75,  1,   2.5};
  const std::vector<double> request = {.0025, .005, .01,  .02,   .04,   .08,   .16,   .32,  .64,
                                       1.28,  2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84};
  const std::vector<double> step = {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
                                    .1,    .25,    .5,    1,    2.5,   5,    10,  30};
  std::vector<double> memory;
  for (double bytes = 64 << 10; bytes <= 16. * (1 << 30); bytes *= 4) memory.push_back(bytes);
  EXPECT_EQ(BoundsOf(text, "gen_ai_server_time_to_first_token_seconds"), first);
  EXPECT_EQ(BoundsOf(text, "gen_ai_server_time_per_output_token_seconds"), token);
  EXPECT_EQ(BoundsOf(text, "precis_inter_token_latency_seconds"), token);
  EXPECT_EQ(BoundsOf(text, "gen_ai_server_request_duration_seconds"), request);
  EXPECT_EQ(BoundsOf(text, "precis_request_queue_seconds"), step);
  EXPECT_EQ(BoundsOf(text, "precis_step_duration_seconds"), step);
  EXPECT_EQ(BoundsOf(text, "precis_request_peak_memory_bytes"), memory);
}

}  // namespace
}  // namespace precis::server
