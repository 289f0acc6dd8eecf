#include "server/metrics/engine_series.h"

#include <algorithm>

#include "server/metrics/label_set.h"

namespace precis::server {
namespace {

using runtime::GaugeSnapshot;
using runtime::StepEvent;

constexpr std::string_view kNone = "none";
constexpr const char* kPhaseNames[] = {"prefill", "decode", "both"};
constexpr const char* kCompositionNames[] = {"homogeneous", "mixed"};
// Backends and models are few and configured; the bound only holds a caller's mistake.
constexpr size_t kMaxBackends = 256;

}  // namespace

EngineSeries::EngineSeries(Families* families) : families_(families) {
  const auto memory = [&](MetricId id, const char* kind) {
    return families_->gauge(id, With(BackendScope(kNone, kNone, "cpu"), "kind", kind));
  };
  process_ = {.utilization = families_->gauge(MetricId::kKvCacheUtilization, {}),
              .weights = memory(MetricId::kMemoryBytes, "weights"),
              .pinned = memory(MetricId::kMemoryBytes, "host_pinned"),
              .workspace = memory(MetricId::kMemoryBytes, "attention_workspace"),
              .activations = memory(MetricId::kMemoryBytes, "activations"),
              .kv_peak = memory(MetricId::kMemoryPeakBytes, "kv"),
              .workspace_peak = memory(MetricId::kMemoryPeakBytes, "attention_workspace"),
              .activations_peak = memory(MetricId::kMemoryPeakBytes, "activations")};
  MutexLock lock(&mutex_);
  Backend(kNone, kNone);
}

void EngineSeries::ObservePhase(int phase, bool mixed, int rows, int tokens) {
  if (rows <= 0) return;
  PhaseSeries& series = phases_[phase][mixed];
  const prometheus::Labels labels = {{"phase", kPhaseNames[phase]}, {"composition", kCompositionNames[mixed]}};
  series.rows.get([&] { return families_->histogram(MetricId::kBatchSize, labels); })->Observe(rows);
  series.tokens.get([&] { return families_->histogram(MetricId::kBatchTokens, labels); })->Observe(tokens);
}

void EngineSeries::Step(const StepEvent& event) {
  ObservePhase(0, event.mixed, event.prefill_rows, event.prefill_tokens);
  ObservePhase(1, event.mixed, event.decode_rows, event.decode_tokens);
  const int phase = event.prefill_rows > 0 ? (event.decode_rows > 0 ? 2 : 0) : 1;
  phases_[phase][event.mixed]
      .duration
      .get([&] {
        return families_->histogram(MetricId::kStepDuration, {{"phase", kPhaseNames[phase]},
                                                              {"composition", kCompositionNames[event.mixed]}});
      })
      ->Observe(absl::ToDoubleSeconds(event.duration));
  if (event.attention_count == 0) return;
  MutexLock lock(&mutex_);
  const std::string device = device_;  // a copy: the analysis does not follow the lock into the lambda
  for (int i = 0; i < event.attention_count; ++i) {
    const StepEvent::AttentionTime& part = event.attention[i];
    const int part_phase = part.phase == runtime::Phase::kPrefill ? 0 : 1;
    RaiseWorkspace(part.model, part.attention_backend, part.workspace_bytes);
    if (part.duration == absl::ZeroDuration()) continue;  // not timed
    Backend(part.model, part.attention_backend)
        .attention[part_phase]
        .get([&] {
          return families_->histogram(
              MetricId::kAttentionKernel,
              With(BackendScope(part.model, part.attention_backend, device), "phase", kPhaseNames[part_phase]));
        })
        ->Observe(absl::ToDoubleSeconds(part.duration));
  }
}

EngineSeries::BackendSeries& EngineSeries::Backend(std::string_view model, std::string_view backend) {
  const std::pair<std::string_view, std::string_view> view(model, backend);
  if (auto it = backends_.find(view); it != backends_.end()) return it->second;
  if (backends_.size() >= kMaxBackends && model != kOtherLabel) return Backend(kOtherLabel, kOtherLabel);
  BackendSeries& series = backends_[{std::string(model), std::string(backend)}];
  const prometheus::Labels labels = BackendScope(model, backend, device_);
  series.running = families_->gauge(MetricId::kRequestsRunning, labels);
  for (int i = 0; i < runtime::kPriorities; ++i) {
    const auto priority = static_cast<runtime::Priority>(i);
    series.waiting[i] =
        families_->gauge(MetricId::kRequestsWaiting, With(labels, "priority", runtime::PriorityName(priority)));
  }
  series.kv_bytes = families_->gauge(MetricId::kMemoryBytes, With(labels, "kind", "kv"));
  return series;
}

void EngineSeries::SetBackend(BackendSeries& series, const GaugeSnapshot::Share& share) {
  series.seen = snapshots_;
  series.running->Set(share.running);
  for (int i = 0; i < runtime::kPriorities; ++i) series.waiting[i]->Set(share.waiting[i]);
  series.kv_bytes->Set(static_cast<double>(share.kv_bytes));
}

void EngineSeries::Gauges(const GaugeSnapshot& snapshot) {
  MutexLock lock(&mutex_);
  ++snapshots_;
  GaugeSnapshot::Share rest = {.running = snapshot.running, .kv_bytes = snapshot.kv_bytes_used};
  std::copy(std::begin(snapshot.waiting), std::end(snapshot.waiting), rest.waiting);
  for (int i = 0; i < snapshot.share_count; ++i) {
    const GaugeSnapshot::Share& share = snapshot.shares[i];
    SetBackend(Backend(share.model, share.attention_backend), share);
    rest.running = std::max(0, rest.running - share.running);
    for (int p = 0; p < runtime::kPriorities; ++p) rest.waiting[p] = std::max(0, rest.waiting[p] - share.waiting[p]);
    rest.kv_bytes = std::max<int64_t>(0, rest.kv_bytes - share.kv_bytes);
  }
  SetBackend(Backend(kNone, kNone), rest);
  for (auto& [name, series] : backends_) {
    if (series.seen != snapshots_) SetBackend(series, {});
  }
  const auto total = static_cast<double>(snapshot.kv_blocks_total);
  process_.utilization->Set(total > 0 ? static_cast<double>(snapshot.kv_blocks_used) / total : 0);
  process_.weights->Set(static_cast<double>(std::max<int64_t>(0, snapshot.weights_bytes - attributed_weights_)));
  process_.pinned->Set(static_cast<double>(snapshot.host_pinned_bytes));
  process_.workspace->Set(static_cast<double>(snapshot.attention_workspace_bytes));
  process_.activations->Set(static_cast<double>(snapshot.activations_bytes));
  process_.kv_peak->Set(static_cast<double>(snapshot.kv_bytes_peak));
  process_.workspace_peak->Set(static_cast<double>(snapshot.attention_workspace_bytes_peak));
  process_.activations_peak->Set(static_cast<double>(snapshot.activations_bytes_peak));
}

void EngineSeries::ModelLoaded(std::string_view model, std::string_view checkpoint, std::string_view device,
                               int64_t weights_bytes, int block_size, int64_t num_blocks) {
  families_
      ->gauge(MetricId::kCacheConfigInfo, {{"model", CleanLabel(model)},
                                           {"checkpoint", CleanLabel(checkpoint)},
                                           {"device", CleanLabel(device)},
                                           {"block_size", std::to_string(block_size)},
                                           {"num_blocks", std::to_string(num_blocks)}})
      ->Set(1);
  MutexLock lock(&mutex_);
  device_ = CleanLabel(device);
  int64_t& bytes = weights_[std::string(model)];
  bytes += weights_bytes;
  attributed_weights_ += weights_bytes;
  families_->gauge(MetricId::kMemoryBytes, With(BackendScope(model, kNone, device), "kind", "weights"))
      ->Set(static_cast<double>(bytes));
}

void EngineSeries::WorkspacePeak(std::string_view model, std::string_view backend, int64_t bytes) {
  MutexLock lock(&mutex_);
  RaiseWorkspace(model, backend, bytes);
}

void EngineSeries::RaiseWorkspace(std::string_view model, std::string_view backend, int64_t bytes) {
  BackendSeries& series = Backend(model, backend);
  if (series.workspace_peak == nullptr) {
    series.workspace_peak = families_->gauge(MetricId::kMemoryPeakBytes,
                                             With(BackendScope(model, backend, device_), "kind", "attention_workspace"));
  }
  if (bytes <= series.workspace_peak_bytes) return;
  series.workspace_peak_bytes = bytes;
  series.workspace_peak->Set(static_cast<double>(bytes));
}

}  // namespace precis::server
