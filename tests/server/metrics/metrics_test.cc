#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/metrics/metric_names.h"
#include "tests/server/metrics/exposition.h"
#include "tests/server/metrics/synthetic_load.h"

namespace precis::server {
namespace {

using ::testing::Optional;
using runtime::RequestLabels;

std::unique_ptr<Metrics> Make(size_t max_label_sets = 1000) {
  return Metrics::Create({"1.2.3", "abc", "g++", "avx2"}, max_label_sets);
}

const RequestLabels kFlash = {"small", "flash", "cpu", "rollout", "b"};
const Exposition::Labels kFlashLabels = {
    {"model", "small"}, {"attention_backend", "flash"}, {"device", "cpu"}, {"experiment", "rollout"}, {"arm", "b"}};

Exposition::Labels FlashWith(Exposition::Labels more) {
  more.insert(kFlashLabels.begin(), kFlashLabels.end());
  return more;
}

TEST(MetricsTest, ABoundBelongsToItsBucket) {
  auto metrics = Make();
  metrics->OnToken(kFlash, absl::Microseconds(1500));
  const Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_inter_token_latency_seconds_bucket", FlashWith({{"le", "0.001"}})), Optional(0));
  EXPECT_THAT(text.Sum("precis_inter_token_latency_seconds_bucket", FlashWith({{"le", "0.0015"}})), Optional(1));
}

TEST(MetricsTest, CountsAFinishedRequest) {
  auto metrics = Make();
  metrics->OnScheduled(kFlash, absl::Milliseconds(3));
  metrics->OnPrefixCache(kFlash, 100, 32);
  metrics->OnFirstToken(kFlash, absl::Milliseconds(50), absl::Milliseconds(40));
  for (int i = 0; i < 4; ++i) metrics->OnToken(kFlash, absl::Milliseconds(10));
  runtime::Accounting accounting;
  accounting.prompt_tokens = 100;
  accounting.truncated_tokens = 7;
  accounting.new_tokens = 5;
  accounting.decode = absl::Milliseconds(40);
  accounting.kv_cache_peak_bytes = 1 << 20;
  accounting.attention_workspace_peak_bytes = 1 << 19;
  metrics->OnFinished(kFlash, absl::OkStatus(), "end_of_text", accounting);
  metrics->OnRpcFinished(kFlash, "OK", "end_of_text", absl::Milliseconds(95));

  const Exposition text(metrics->Serialize());
  const auto value = [&](const char* name) { return text.Sum(name, kFlashLabels).value_or(-1); };
  EXPECT_EQ(value("precis_prompt_tokens_total"), 100);
  EXPECT_EQ(value("precis_truncated_tokens_total"), 7);
  EXPECT_EQ(value("precis_generation_tokens_total"), 5);
  EXPECT_EQ(value("precis_preemptions_total"), 0) << "shown before its first event";
  EXPECT_EQ(value("precis_prefix_cache_queries_total"), 100);
  EXPECT_EQ(value("precis_prefix_cache_hits_total"), 32);
  EXPECT_EQ(value("precis_inter_token_latency_seconds_count"), 4);
  EXPECT_DOUBLE_EQ(value("gen_ai_server_time_per_output_token_seconds_sum"), 0.010);
  EXPECT_DOUBLE_EQ(value("gen_ai_server_time_to_first_token_seconds_sum"), 0.050);
  EXPECT_DOUBLE_EQ(value("precis_request_prefill_seconds_sum"), 0.040);
  EXPECT_DOUBLE_EQ(value("precis_request_queue_seconds_sum"), 0.003);
  EXPECT_DOUBLE_EQ(value("precis_request_decode_seconds_sum"), 0.040);
  EXPECT_DOUBLE_EQ(value("precis_request_peak_memory_bytes_sum"), (1 << 20) + (1 << 19));
  EXPECT_THAT(text.Sum("precis_requests_total", FlashWith({{"grpc_code", "OK"}, {"finish_reason", "end_of_text"}})),
              Optional(1));
  EXPECT_THAT(text.Sum("gen_ai_server_request_duration_seconds_count",
                       FlashWith({{"gen_ai_operation_name", "text_completion"},
                                  {"gen_ai_provider_name", "precis"},
                                  {"gen_ai_request_model", "small"}})),
              Optional(1));
  EXPECT_THAT(text.Sum("precis_memory_peak_bytes", {{"kind", "attention_workspace"}, {"attention_backend", "flash"}}),
              Optional(1 << 19));
}

TEST(MetricsTest, CountsFailures) {
  auto metrics = Make();
  metrics->OnRejected(kFlash, runtime::RejectReason::kQueueFull);
  metrics->OnRefused(kFlash, "auth");
  metrics->OnCancelled(kFlash, "decode", absl::Milliseconds(4));
  metrics->OnPreempted(kFlash);
  metrics->OnFinished(kFlash, absl::CancelledError("gone"), "", {});
  metrics->OnRpcFinished(kFlash, "CANCELLED", "", absl::Seconds(1));
  metrics->OnAssignment("rollout", "b", "assigned");
  const Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_requests_rejected_total", FlashWith({{"reason", "queue_full"}})), Optional(1));
  EXPECT_THAT(text.Sum("precis_requests_rejected_total", FlashWith({{"reason", "auth"}})), Optional(1));
  EXPECT_THAT(text.Sum("precis_requests_cancelled_total", FlashWith({{"stage", "decode"}})), Optional(1));
  EXPECT_THAT(text.Sum("precis_cancel_latency_seconds_sum", FlashWith({{"stage", "decode"}})), Optional(0.004));
  EXPECT_THAT(text.Sum("precis_preemptions_total", kFlashLabels), Optional(1));
  EXPECT_THAT(text.Sum("gen_ai_server_request_duration_seconds_count", FlashWith({{"error_type", "CANCELLED"}})),
              Optional(1));
  EXPECT_THAT(text.Sum("precis_requests_total", FlashWith({{"grpc_code", "CANCELLED"}, {"finish_reason", "none"}})),
              Optional(1));
  EXPECT_EQ(text.Sum("precis_request_decode_seconds_count"), std::nullopt) << "only successful requests are timed";
  EXPECT_THAT(text.Sum("precis_experiment_assignments_total",
                       {{"experiment", "rollout"}, {"arm", "b"}, {"reason", "assigned"}}),
              Optional(1));
}

TEST(MetricsTest, GaugesSumToTheEnginesNumbers) {
  auto metrics = Make();
  metrics->OnModelLoaded("small", "small-learned", "cpu", 1000, 16, 50);
  metrics->OnModelLoaded("small", "small-alibi", "cpu", 500, 16, 50);
  runtime::GaugeSnapshot::Share shares[2] = {{"small", "flash", 2, {0, 1, 0}, 300}, {"small", "standard", 1, {}, 100}};
  runtime::GaugeSnapshot snapshot;
  snapshot.running = 4;
  snapshot.waiting[1] = 1;
  snapshot.waiting[2] = 5;
  snapshot.kv_bytes_used = 450;
  snapshot.kv_blocks_used = 10;
  snapshot.kv_blocks_total = 40;
  snapshot.weights_bytes = 1600;
  snapshot.shares = shares;
  snapshot.share_count = 2;
  metrics->OnGauges(snapshot);
  Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_requests_running"), Optional(4));
  EXPECT_THAT(text.Sum("precis_requests_running", {{"attention_backend", "flash"}}), Optional(2));
  EXPECT_THAT(text.Sum("precis_requests_running", {{"attention_backend", "none"}}), Optional(1));
  EXPECT_THAT(text.Sum("precis_requests_waiting", {{"priority", "high"}}), Optional(5));
  EXPECT_THAT(text.Sum("precis_requests_waiting", {{"priority", "normal"}, {"attention_backend", "flash"}}), Optional(1));
  EXPECT_THAT(text.Sum("precis_memory_bytes", {{"kind", "kv"}}), Optional(450));
  EXPECT_THAT(text.Sum("precis_memory_bytes", {{"kind", "weights"}}), Optional(1600));
  EXPECT_THAT(text.Sum("precis_memory_bytes", {{"kind", "weights"}, {"model", "small"}}), Optional(1500));
  EXPECT_THAT(text.Sum("precis_kv_cache_utilization_ratio"), Optional(0.25));
  EXPECT_THAT(text.Sum("precis_cache_config_info", {{"block_size", "16"}, {"num_blocks", "50"}}), Optional(2));

  // A backend that is named no more holds nothing.
  snapshot.share_count = 1;
  metrics->OnGauges(snapshot);
  text = Exposition(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_requests_running", {{"attention_backend", "standard"}}), Optional(0));
  EXPECT_THAT(text.Sum("precis_requests_running"), Optional(4));
}

TEST(MetricsTest, StepsByPhaseAndComposition) {
  auto metrics = Make();
  const runtime::StepEvent::AttentionTime parts[] = {
      {"flash", "small", runtime::Phase::kDecode, absl::Milliseconds(2), 4096}};
  metrics->OnStep({.duration = absl::Milliseconds(20), .prefill_rows = 1, .decode_rows = 3, .prefill_tokens = 64,
                   .decode_tokens = 3, .mixed = true, .attention = parts, .attention_count = 1});
  metrics->OnStep({.duration = absl::Milliseconds(5), .decode_rows = 2, .decode_tokens = 2});
  const Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_batch_size_sum", {{"phase", "prefill"}, {"composition", "mixed"}}), Optional(1));
  EXPECT_THAT(text.Sum("precis_batch_tokens_sum", {{"phase", "prefill"}, {"composition", "mixed"}}), Optional(64));
  EXPECT_THAT(text.Sum("precis_batch_size_sum", {{"phase", "decode"}, {"composition", "mixed"}}), Optional(3));
  EXPECT_THAT(text.Sum("precis_step_duration_seconds_sum", {{"phase", "both"}, {"composition", "mixed"}}),
              Optional(0.02));
  EXPECT_THAT(text.Sum("precis_step_duration_seconds_count", {{"phase", "decode"}, {"composition", "homogeneous"}}),
              Optional(1));
  EXPECT_THAT(text.Sum("precis_attention_kernel_seconds_sum", {{"attention_backend", "flash"}, {"phase", "decode"}}),
              Optional(0.002));
  EXPECT_THAT(text.Sum("precis_memory_peak_bytes", {{"kind", "attention_workspace"}, {"attention_backend", "flash"}}),
              Optional(4096));
}

TEST(MetricsTest, StateAndBuild) {
  auto metrics = Make();
  EXPECT_THAT(Exposition(metrics->Serialize()).Sum("precis_ready"), Optional(0));
  metrics->SetReady(true);
  metrics->SetDraining(true);
  metrics->SetConfigGeneration(7);
  const Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_ready"), Optional(1));
  EXPECT_THAT(text.Sum("precis_draining"), Optional(1));
  EXPECT_THAT(text.Sum("precis_config_generation"), Optional(7));
  EXPECT_THAT(text.Sum("precis_build_info",
                       {{"version", "1.2.3"}, {"commit", "abc"}, {"compiler", "g++"}, {"isa", "avx2"}}),
              Optional(1));
}

TEST(MetricsTest, LabelSetsAreBounded) {
  auto metrics = Make(/*max_label_sets=*/4);
  for (int i = 0; i < 100; ++i) {
    const std::string model = absl::StrCat("model-", i);
    metrics->OnPreempted({model, "flash", "cpu"});
    metrics->OnAssignment("experiment", model, "assigned");
    metrics->OnRpcFinished({"one", "flash", "cpu"}, absl::StrCat("code-", i), "", absl::Seconds(1));
  }
  const Exposition text(metrics->Serialize());
  std::set<std::string> models, arms, codes;
  for (const Exposition::Sample& sample : text.samples()) {
    if (sample.name == "precis_preemptions_total") models.insert(sample.labels.at("model"));
    if (sample.name == "precis_experiment_assignments_total") arms.insert(sample.labels.at("arm"));
    if (sample.name == "precis_requests_total") codes.insert(sample.labels.at("grpc_code"));
  }
  EXPECT_EQ(models.size(), 4) << "three models (one set is that of the calls) and other";
  EXPECT_EQ(arms.size(), 5);
  EXPECT_EQ(codes.size(), 33);
  EXPECT_TRUE(models.count("other") && arms.count("other") && codes.count("other"));
  EXPECT_THAT(text.Sum("precis_preemptions_total"), Optional(100)) << "nothing is lost";
  EXPECT_THAT(text.Sum("precis_preemptions_total", {{"model", "other"}}), Optional(97));
}

TEST(MetricsTest, LabelsFromOutsideAreCleaned) {
  auto metrics = Make();
  metrics->OnPreempted({"", "fl\"a\\s\nh", "cpu"});
  metrics->OnPreempted({"bad\xff\xc3utf8\xed\xa0\x80", "flash", "cpu"});
  metrics->OnPreempted({std::string(1000, 'x'), "flash", "cpu"});
  metrics->OnPreempted({"modèle", "flash", "cpu"});
  const Exposition text(metrics->Serialize());
  const auto count = [&](const char* model) { return text.Sum("precis_preemptions_total", {{"model", model}}); };
  EXPECT_THAT(text.Sum("precis_preemptions_total", {{"model", "none"}, {"attention_backend", "fl\"a\\s\nh"}}),
              Optional(1));
  EXPECT_THAT(count("bad??utf8???"), Optional(1));
  EXPECT_THAT(count(std::string(128, 'x').c_str()), Optional(1));
  EXPECT_THAT(count("modèle"), Optional(1));
}

TEST(MetricsTest, ThreadsLoseNothing) {
  auto metrics = Make(/*max_label_sets=*/6);
  constexpr int kThreads = 8, kRounds = 300;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&metrics, t] {
      for (int i = 0; i < kRounds; ++i) {
        const std::string model = absl::StrCat("m", (t + i) % 10);
        const RequestLabels labels = {model, "flash", "cpu"};
        metrics->OnScheduled(labels, absl::Milliseconds(1));
        metrics->OnFirstToken(labels, absl::Milliseconds(2), absl::Milliseconds(1));
        metrics->OnToken(labels, absl::Milliseconds(1));
        metrics->OnFinished(labels, absl::OkStatus(), "end_of_text", {.prompt_tokens = 3, .new_tokens = 2});
        metrics->OnCancelled(labels, "queued", absl::Milliseconds(1));
        metrics->OnRpcFinished(labels, i % 2 ? "OK" : "INTERNAL", "", absl::Milliseconds(3));
        metrics->OnAssignment("e", model, "assigned");
        const runtime::StepEvent::AttentionTime part = {"flash", model, runtime::Phase::kDecode,
                                                        absl::Milliseconds(1), 10};
        metrics->OnStep({.decode_rows = 1, .attention = &part, .attention_count = 1});
        const runtime::GaugeSnapshot::Share share = {model, "flash", 1};
        metrics->OnGauges({.running = 1, .shares = &share, .share_count = 1});
        if (i % 100 == 0) metrics->Serialize();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Exposition text(metrics->Serialize());
  constexpr double kTotal = kThreads * kRounds;
  EXPECT_THAT(text.Sum("precis_generation_tokens_total"), Optional(2 * kTotal));
  EXPECT_THAT(text.Sum("precis_prompt_tokens_total"), Optional(3 * kTotal));
  EXPECT_THAT(text.Sum("precis_inter_token_latency_seconds_count"), Optional(kTotal));
  EXPECT_THAT(text.Sum("precis_requests_total"), Optional(kTotal));
  EXPECT_THAT(text.Sum("precis_requests_cancelled_total"), Optional(kTotal));
  EXPECT_THAT(text.Sum("precis_experiment_assignments_total"), Optional(kTotal));
  EXPECT_THAT(text.Sum("precis_step_duration_seconds_count"), Optional(kTotal));
  EXPECT_THAT(text.Sum("precis_attention_kernel_seconds_count"), Optional(kTotal));
  EXPECT_THAT(text.Sum("precis_requests_running"), Optional(1));
}

}  // namespace
}  // namespace precis::server
