#include "server/metrics/metrics.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "prometheus/text_serializer.h"
#include "server/metrics/engine_series.h"
#include "server/metrics/families.h"
#include "server/metrics/label_set.h"
#include "server/metrics/request_series.h"

namespace precis::server {
namespace {

using runtime::RequestLabels;

// Distinct values of a label that one metric may have: codes, reasons, stages.
constexpr size_t kMaxReasons = 32;

double Seconds(absl::Duration duration) { return std::max(0.0, absl::ToDoubleSeconds(duration)); }

class MetricsImpl final : public Metrics {
 public:
  MetricsImpl(const BuildInfo& build, size_t max_label_sets)
      : series_(max_label_sets,
                [this](prometheus::Labels labels) {
                  return std::make_unique<RequestSeries>(&families_, std::move(labels));
                }),
        engine_(&families_),
        experiments_(max_label_sets),
        ready_(families_.gauge(MetricId::kReady, {})),
        draining_(families_.gauge(MetricId::kDraining, {})),
        config_generation_(families_.gauge(MetricId::kConfigGeneration, {})) {
    families_
        .gauge(MetricId::kBuildInfo, {{"version", CleanLabel(build.version)},
                                      {"commit", CleanLabel(build.commit)},
                                      {"compiler", CleanLabel(build.compiler)},
                                      {"isa", CleanLabel(build.isa)}})
        ->Set(1);
  }

  void OnRejected(const RequestLabels& labels, runtime::RejectReason reason) override {
    if (IsShadow(labels)) return;
    CountRefusal(labels, runtime::RejectReasonName(reason));
  }
  void OnRefused(const RequestLabels& labels, std::string_view reason) override { CountRefusal(labels, reason); }

  void OnScheduled(const RequestLabels& labels, absl::Duration queue) override {
    if (IsShadow(labels)) return;
    RequestSeries* series = series_.Find(labels);
    series->queue()->Observe(Seconds(queue));
    series->StartCounters();
  }

  void OnPrefixCache(const RequestLabels& labels, int prompt_tokens, int cached_tokens) override {
    if (IsShadow(labels)) return;
    RequestSeries* series = series_.Find(labels);
    Add(series->prefix_queries(), prompt_tokens);
    Add(series->prefix_hits(), cached_tokens);
  }

  void OnFirstToken(const RequestLabels& labels, absl::Duration time_to_first_token,
                    absl::Duration prefill) override {
    if (IsShadow(labels)) return;
    RequestSeries* series = series_.Find(labels);
    series->time_to_first_token()->Observe(Seconds(time_to_first_token));
    series->prefill()->Observe(Seconds(prefill));
    series->generation_tokens()->Increment();
  }

  void OnToken(const RequestLabels& labels, absl::Duration since_previous) override {
    if (IsShadow(labels)) return;
    RequestSeries* series = series_.Find(labels);
    series->inter_token_latency()->Observe(Seconds(since_previous));
    series->generation_tokens()->Increment();
  }

  void OnFinished(const RequestLabels& labels, const absl::Status& status, std::string_view finish_reason,
                  const runtime::Accounting& accounting) override {
    if (IsShadow(labels)) return;
    RequestSeries* series = series_.Find(labels);
    Add(series->prompt_tokens(), accounting.prompt_tokens);
    Add(series->truncated_tokens(), accounting.truncated_tokens);
    engine_.WorkspacePeak(labels.model, labels.attention_backend, accounting.attention_workspace_peak_bytes);
    if (!status.ok()) return;
    series->decode()->Observe(Seconds(accounting.decode));
    if (accounting.new_tokens > 1) {
      series->time_per_output_token()->Observe(Seconds(accounting.decode) / (accounting.new_tokens - 1));
    }
    if (accounting.energy_joules.has_value()) series->energy()->Observe(*accounting.energy_joules);
    series->peak_memory()->Observe(
        static_cast<double>(accounting.kv_cache_peak_bytes + accounting.attention_workspace_peak_bytes));
  }

  void OnCancelled(const RequestLabels& labels, std::string_view stage, absl::Duration latency) override {
    if (IsShadow(labels)) return;
    RequestSeries* series = series_.Find(labels);
    const prometheus::Labels own = {{"stage", stages_.Bound(stage)}};
    series->Counter(MetricId::kRequestsCancelled, own)->Increment();
    series->Histogram(MetricId::kCancelLatency, own)->Observe(Seconds(latency));
  }

  void OnPreempted(const RequestLabels& labels) override {
    if (!IsShadow(labels)) series_.Find(labels)->preemptions()->Increment();
  }
  void OnStep(const runtime::StepEvent& event) override { engine_.Step(event); }
  void OnGauges(const runtime::GaugeSnapshot& snapshot) override { engine_.Gauges(snapshot); }

  void OnRpcFinished(const RequestLabels& labels, std::string_view grpc_code, std::string_view finish_reason,
                     absl::Duration duration) override {
    RequestSeries* series = series_.Find(labels);
    const std::string code = codes_.Bound(grpc_code);
    series->Counter(MetricId::kRequests, {{"grpc_code", code}, {"finish_reason", finishes_.Bound(finish_reason)}})
        ->Increment();
    series->duration(code == "OK" ? "" : code)->Observe(Seconds(duration));
  }

  void OnAssignment(std::string_view experiment, std::string_view arm, std::string_view reason) override {
    const auto [name, arm_name] = Bounded(experiment, arm);
    families_.counter(MetricId::kExperimentAssignments, {{"experiment", name}, {"arm", arm_name}, {"reason", assignment_reasons_.Bound(reason)}})
        ->Increment();
  }

  void OnModelLoaded(std::string_view model, std::string_view checkpoint, std::string_view device,
                     int64_t weights_bytes, int block_size, int64_t num_blocks) override {
    engine_.ModelLoaded(model, checkpoint, device, weights_bytes, block_size, num_blocks);
  }

  void OnGpu(std::string_view uuid, const kernels::NvmlSample& sample) override {
    const prometheus::Labels labels = {{"gpu_uuid", CleanLabel(uuid)}};
    gauge(MetricId::kGpuMemoryUsed, labels)->Set(static_cast<double>(sample.memory_used_bytes));
    gauge(MetricId::kGpuMemoryTotal, labels)->Set(static_cast<double>(sample.memory_total_bytes));
    if (sample.power_watts.has_value()) gauge(MetricId::kGpuPower, labels)->Set(*sample.power_watts);
    if (sample.gpu_utilisation.has_value()) gauge(MetricId::kGpuUtilization, labels)->Set(*sample.gpu_utilisation);
    if (!sample.energy_joules.has_value()) return;
    const double before = gpu_joules_.exchange(*sample.energy_joules);
    prometheus::Counter* energy = families_.counter(MetricId::kGpuEnergy, labels);
    if (before >= 0 && *sample.energy_joules > before) energy->Increment(*sample.energy_joules - before);
  }

  void SetReady(bool ready) override { ready_->Set(ready); }
  void SetDraining(bool draining) override { draining_->Set(draining); }
  void SetConfigGeneration(uint64_t generation) override {
    config_generation_->Set(static_cast<double>(generation));
  }

  void OnExperimentReport(const precis::v1::Report& report) override {
    const std::string experiment = report.experiment().name();
    gauge(MetricId::kExperimentSampleRatio, {{"experiment", Bounded(experiment, "all").first}})->Set(report.sample_ratio().p_value());
    for (const precis::v1::ArmReport& arm : report.arms()) {
      const auto [name, arm_name] = Bounded(experiment, arm.name());
      gauge(MetricId::kExperimentUnits, {{"experiment", name}, {"arm", arm_name}})->Set(static_cast<double>(arm.units()));
      for (const precis::v1::Effect& effect : arm.effects()) {
        if (!effect.not_yet().empty()) continue;
        const prometheus::Labels labels = {{"experiment", name}, {"arm", arm_name}, {"outcome", effect.outcome()}, {"statistic", effect.statistic()}};
        gauge(MetricId::kExperimentLift, labels)->Set(effect.lift());
        gauge(MetricId::kExperimentLow, labels)->Set(effect.low());
        gauge(MetricId::kExperimentHigh, labels)->Set(effect.high());
        gauge(MetricId::kExperimentPValue, labels)->Set(effect.adjusted_p_value());
      }
    }
  }
  void OnExperimentStopped(std::string_view experiment, std::string_view arm, std::string_view guardrail) override {
    const auto [name, arm_name] = Bounded(experiment, arm);
    gauge(MetricId::kExperimentStopped, {{"experiment", name}, {"arm", arm_name}, {"guardrail", guardrails_.Bound(guardrail)}})->Set(1);
  }
  void OnExperimentsReload(std::string_view result) override {
    families_.counter(MetricId::kExperimentReloads, {{"result", reload_results_.Bound(result)}})->Increment();
  }
  void OnOutcome(std::string_view experiment, std::string_view arm, std::string_view outcome) override {
    const auto [name, arm_name] = Bounded(experiment, arm);
    families_.counter(MetricId::kExperimentOutcomes, {{"experiment", name}, {"arm", arm_name}, {"outcome", outcomes_.Bound(outcome)}})->Increment();
  }
  void OnShadowPair(std::string_view experiment, std::string_view arm, std::string_view result, double token_agreement, int first_divergence) override {
    const auto [name, arm_name] = Bounded(experiment, arm);
    const prometheus::Labels labels = {{"experiment", name}, {"arm", arm_name}};
    families_.counter(MetricId::kShadowPairs, With(labels, "result", shadow_results_.Bound(result)))->Increment();
    if (result != "identical" && result != "different") return;
    families_.histogram(MetricId::kShadowAgreement, labels)->Observe(token_agreement);
    if (first_divergence >= 0) families_.histogram(MetricId::kShadowDivergence, labels)->Observe(first_divergence);
  }

  std::string Serialize() const override {
    return prometheus::TextSerializer().Serialize(families_.registry().Collect());
  }

 private:
  // Replays are nobody's traffic.
  static bool IsShadow(const RequestLabels& labels) { return labels.experiment == runtime::kShadowLabel; }
  prometheus::Gauge* gauge(MetricId id, const prometheus::Labels& labels) { return families_.gauge(id, labels); }
  // One bound over the pair, so that experiments times arms can't exceed it.
  std::pair<std::string, std::string> Bounded(std::string_view experiment, std::string_view arm) {
    const bool known = experiments_.Bound(std::string(experiment) + "\n" + std::string(arm)) != kOtherLabel;
    return {known ? CleanLabel(experiment) : "other", known ? CleanLabel(arm) : "other"};
  }
  static void Add(prometheus::Counter* counter, int64_t amount) {
    counter->Increment(static_cast<double>(std::max<int64_t>(0, amount)));
  }
  void CountRefusal(const RequestLabels& labels, std::string_view reason) {
    series_.Find(labels)
        ->Counter(MetricId::kRequestsRejected, {{"reason", reject_reasons_.Bound(reason)}})
        ->Increment();
  }

  Families families_;
  SeriesMap<RequestSeries> series_;
  EngineSeries engine_;
  BoundedValues experiments_;
  BoundedValues codes_{kMaxReasons}, finishes_{kMaxReasons}, stages_{kMaxReasons}, reject_reasons_{kMaxReasons},
      assignment_reasons_{kMaxReasons}, guardrails_{kMaxReasons}, reload_results_{kMaxReasons}, outcomes_{kMaxReasons},
      shadow_results_{kMaxReasons};
  std::atomic<double> gpu_joules_{-1};  // the driver's counter when it was last read; negative: never
  prometheus::Gauge* const ready_;
  prometheus::Gauge* const draining_;
  prometheus::Gauge* const config_generation_;
};

}  // namespace

std::unique_ptr<Metrics> Metrics::Create(const BuildInfo& build, size_t max_label_sets) {
  return std::make_unique<MetricsImpl>(build, max_label_sets);
}

}  // namespace precis::server
