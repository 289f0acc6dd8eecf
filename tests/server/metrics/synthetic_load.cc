#include "tests/server/metrics/synthetic_load.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace precis::server {
namespace {

constexpr int kMaxRunning = 16;
constexpr size_t kMaxWaiting = 40;
constexpr int64_t kKvBytesPerToken = 36 << 10;
constexpr int64_t kKvBlocks = 2000;

}  // namespace

const SyntheticLoad::Backend SyntheticLoad::kBackends[] = {
    {"standard", 14, 420, int64_t{48} << 20, 0.9},
    {"flash", 11, 310, int64_t{1} << 20, 1.6},
    {"flash_alibi", 11.5, 320, int64_t{1} << 20, 0.8},
    {"standard_alibi", 15, 440, int64_t{49} << 20, 0.5},
};

SyntheticLoad::SyntheticLoad(Metrics* metrics) : metrics_(metrics) {
  metrics_->OnModelLoaded("gpt2-news", "gpt2-news-learned", "cpu", int64_t{248} << 20, 16, kKvBlocks);
  metrics_->OnModelLoaded("gpt2-news", "gpt2-news-alibi", "cpu", int64_t{246} << 20, 16, kKvBlocks);
  metrics_->SetReady(true);
  metrics_->SetConfigGeneration(1);
}

double SyntheticLoad::Jitter(double spread) {
  return std::lognormal_distribution<double>(0, spread)(random_);
}

runtime::RequestLabels SyntheticLoad::LabelsOf(const Job& job) const {
  runtime::RequestLabels labels = {"gpt2-news", job.backend->name, "cpu"};
  if (job.in_experiment) {
    labels.experiment = "flash-rollout";
    labels.arm = std::string_view(job.backend->name) == "flash" ? "treatment" : "control";
  }
  return labels;
}

void SyntheticLoad::Arrive(absl::Duration step) {
  const double wave = 1 + 0.7 * std::sin(absl::ToDoubleSeconds(time_) / 9);
  for (const Backend& backend : kBackends) {
    const double mean = backend.arrivals_per_s * wave * absl::ToDoubleSeconds(step);
    for (int n = std::poisson_distribution<int>(mean)(random_); n > 0; --n) {
      const bool in_experiment = &backend < kBackends + 2 && random_() % 2 == 0;
      Job job = {&backend, in_experiment, static_cast<int>(random_() % 3), 200 + static_cast<int>(random_() % 700),
                 20 + static_cast<int>(random_() % 60)};
      if (in_experiment) metrics_->OnAssignment("flash-rollout", LabelsOf(job).arm, "assigned");
      if (random_() % 50 == 0) {
        metrics_->OnRefused(LabelsOf(job), "quota");
        metrics_->OnRpcFinished(LabelsOf(job), "RESOURCE_EXHAUSTED", "", absl::Milliseconds(1));
        continue;
      }
      if (waiting_.size() >= kMaxWaiting) {
        metrics_->OnRejected(LabelsOf(job), runtime::RejectReason::kQueueFull);
        metrics_->OnRpcFinished(LabelsOf(job), "RESOURCE_EXHAUSTED", "", absl::Milliseconds(1));
        continue;
      }
      waiting_.push_back(job);
    }
  }
}

void SyntheticLoad::Schedule() {
  while (!waiting_.empty() && running_.size() < kMaxRunning) {
    Job job = waiting_.front();
    waiting_.pop_front();
    job.queue = job.age;
    job.prefill = absl::Milliseconds(job.backend->prefill_ms * job.prompt_tokens / 500 * Jitter(0.15));
    metrics_->OnScheduled(LabelsOf(job), job.queue);
    metrics_->OnPrefixCache(LabelsOf(job), job.prompt_tokens, random_() % 5 == 0 ? 128 : 0);
    if (random_() % 30 == 0) metrics_->OnPreempted(LabelsOf(job));
    running_.push_back(job);
  }
}

void SyntheticLoad::Finish(const Job& job) {
  const bool cancelled = random_() % 40 == 0;
  runtime::Accounting accounting;
  accounting.prompt_tokens = job.prompt_tokens;
  accounting.truncated_tokens = random_() % 6 == 0 ? 150 : 0;
  accounting.new_tokens = job.produced;
  accounting.decode = job.age - job.first_token;
  accounting.kv_cache_peak_bytes = (job.prompt_tokens + job.produced) * kKvBytesPerToken;
  accounting.energy_joules = 0.01 * (job.prompt_tokens + job.produced);
  accounting.attention_workspace_peak_bytes = job.backend->workspace_bytes * job.prompt_tokens / 900;
  const runtime::RequestLabels labels = LabelsOf(job);
  if (cancelled) {
    metrics_->OnCancelled(labels, "decode", absl::Milliseconds(9));
    metrics_->OnFinished(labels, absl::CancelledError("the caller left"), "", accounting);
    metrics_->OnRpcFinished(labels, "CANCELLED", "", job.age);
  } else {
    metrics_->OnFinished(labels, absl::OkStatus(), "end_of_text", accounting);
    metrics_->OnRpcFinished(labels, "OK", "end_of_text", job.age + absl::Milliseconds(1));
  }
}

void SyntheticLoad::Generate(absl::Duration step) {
  int decoded = 0;
  const double crowd = 1 + 0.06 * static_cast<double>(running_.size());
  for (Job& job : running_) {
    if (job.age < job.queue + job.prefill) continue;
    if (job.produced == 0) {
      job.first_token = job.age;
      metrics_->OnFirstToken(LabelsOf(job), job.age, job.prefill);
      ++job.produced;
      continue;
    }
    job.since_token += step;
    const absl::Duration pace = absl::Milliseconds(job.backend->token_ms * crowd * Jitter(0.25));
    while (job.since_token >= pace && job.produced < job.left) {
      metrics_->OnToken(LabelsOf(job), pace);
      job.since_token -= pace;
      ++job.produced;
      ++decoded;
    }
  }
  for (const Job& job : running_) {
    if (job.produced >= job.left) Finish(job);
  }
  running_.erase(std::remove_if(running_.begin(), running_.end(), [](const Job& j) { return j.produced >= j.left; }),
                 running_.end());
  Report(step, decoded);
}

void SyntheticLoad::Report(absl::Duration step, int decoded) {
  std::map<std::string_view, runtime::GaugeSnapshot::Share> by_backend;
  runtime::GaugeSnapshot snapshot;
  for (const Job& job : running_) {
    runtime::GaugeSnapshot::Share& share = by_backend[job.backend->name];
    const int64_t bytes = (job.prompt_tokens + job.produced) * kKvBytesPerToken;
    ++share.running;
    share.kv_bytes += bytes;
    snapshot.kv_bytes_used += bytes;
    snapshot.attention_workspace_bytes = std::max(snapshot.attention_workspace_bytes, job.backend->workspace_bytes);
  }
  for (const Job& job : waiting_) {
    ++by_backend[job.backend->name].waiting[job.priority];
    ++snapshot.waiting[job.priority];
  }
  std::vector<runtime::GaugeSnapshot::Share> shares;
  for (auto& [name, share] : by_backend) {
    share.model = "gpt2-news";
    share.attention_backend = name;
    shares.push_back(share);
  }
  snapshot.running = static_cast<int>(running_.size());
  snapshot.kv_blocks_total = kKvBlocks;
  snapshot.kv_blocks_used = snapshot.kv_bytes_used / (16 * kKvBytesPerToken);
  snapshot.kv_bytes_peak = kv_peak_ = std::max(kv_peak_, snapshot.kv_bytes_used);
  snapshot.weights_bytes = int64_t{494} << 20;
  snapshot.activations_bytes = snapshot.activations_bytes_peak = int64_t{21} << 20;
  snapshot.attention_workspace_bytes_peak = int64_t{49} << 20;
  snapshot.shares = shares.data();
  snapshot.share_count = static_cast<int>(shares.size());
  metrics_->OnGauges(snapshot);

  std::vector<runtime::StepEvent::AttentionTime> parts;
  int prefill_rows = 0;
  for (const Job& job : running_) prefill_rows += job.produced == 0;
  for (const runtime::GaugeSnapshot::Share& share : shares) {
    if (share.running == 0) continue;
    parts.push_back({share.attention_backend, "gpt2-news", runtime::Phase::kDecode,
                     absl::Microseconds(180 * share.running), int64_t{1} << 16});
  }
  if (snapshot.running == 0) return;
  runtime::StepEvent event = {.duration = step, .prefill_rows = prefill_rows,
                              .decode_rows = snapshot.running - prefill_rows, .prefill_tokens = 32 * prefill_rows,
                              .decode_tokens = decoded,
                              .mixed = parts.size() > 1, .attention = parts.data(),
                              .attention_count = static_cast<int>(parts.size())};
  metrics_->OnStep(event);
}

// What an experiment's tracker tells from time to time.
void SyntheticLoad::TellExperiment() {
  precis::v1::Report report;
  report.mutable_experiment()->set_name("flash-rollout");
  report.mutable_sample_ratio()->set_p_value(0.4);
  for (const char* name : {"control", "flash"}) {
    precis::v1::ArmReport* arm = report.add_arms();
    arm->set_name(name);
    arm->set_units(500);
    if (arm->name() == "control") continue;
    for (const auto& [outcome, statistic] : {std::pair("total_seconds", "p50"), std::pair("error", "mean")}) {
      precis::v1::Effect* effect = arm->add_effects();
      effect->set_outcome(outcome);
      effect->set_statistic(statistic);
      effect->set_lift(-0.3);
      effect->set_low(-0.4);
      effect->set_high(-0.2);
      effect->set_adjusted_p_value(0.01);
    }
  }
  metrics_->OnExperimentReport(report);
  metrics_->OnExperimentStopped("flash-rollout", "flash_alibi", "error_rate");
  metrics_->OnExperimentsReload("taken");
  metrics_->OnOutcome("flash-rollout", "flash", "thumbs");
  metrics_->OnShadowPair("flash-rollout", "flash", told_ % 2 == 0 ? "identical" : "different", 0.93, told_ % 40);
  ++told_;
}

void SyntheticLoad::TellGpu() {
  kernels::NvmlSample sample;
  sample.memory_used_bytes = int64_t{4} << 30;
  sample.memory_total_bytes = int64_t{80} << 30;
  sample.power_watts = 180 + 40 * Jitter(0.1);
  sample.energy_joules = 220 * absl::ToDoubleSeconds(time_);
  sample.gpu_utilisation = 0.6;
  metrics_->OnGpu("GPU-5e1b7a52-demo", sample);
}

void SyntheticLoad::Advance(absl::Duration step) {
  if (absl::ToInt64Seconds(time_) != absl::ToInt64Seconds(time_ + step)) {
    TellExperiment();
    TellGpu();
  }
  time_ += step;
  for (Job& job : waiting_) job.age += step;
  for (Job& job : running_) job.age += step;
  Arrive(step);
  Schedule();
  Generate(step);
}

std::string SyntheticLoad::StatusJson(int64_t started_unix_seconds) {
  return R"({"version": "0.1.0", "commit": "demo", "started_unix_seconds": )" + std::to_string(started_unix_seconds) + R"(,
 "models": [
   {"name": "gpt2-news", "checkpoint": "gpt2-news-learned", "device": "cpu", "weights": "bf16", "context_tokens": 1024,
    "parameters": 124439808, "weights_bytes": 260046848, "attention_backends": ["standard", "flash"]},
   {"name": "gpt2-news", "checkpoint": "gpt2-news-alibi", "device": "cpu", "weights": "bf16", "context_tokens": 32768,
    "parameters": 123653376, "weights_bytes": 257949696, "attention_backends": ["standard_alibi", "flash_alibi"]}],
 "experiments": [{"name": "flash-rollout", "arms": [
   {"name": "control", "attention_backend": "standard", "weight": 1},
   {"name": "treatment", "attention_backend": "flash", "weight": 1}]}],
 "options": {"threads": "2", "max-batch-rows": "256", "prefix-cache": "on", "model": ["a=b", "a=c"], "log-file": ""}})";
}

}  // namespace precis::server
