// The timer thread, and what the engine tells about itself.
#include <algorithm>
#include <iterator>

#include "runtime/engine/engine_impl.h"

namespace precis::runtime {
namespace {

constexpr absl::Duration kGaugeInterval = absl::Milliseconds(20);

}  // namespace

void EngineImpl::RunTimer() {
  absl::Time last_gauges = absl::InfinitePast();
  mu_.Lock();
  while (!stopping_) {
    const absl::Time now = clock_.Now();
    EndCutShort(scheduler_.ExpireQueued(now), now);
    if (gauges_changed_ && now - last_gauges >= kGaugeInterval) {
      last_gauges = now;
      mu_.Unlock();
      ReportGauges();
      mu_.Lock();
      continue;
    }
    absl::Time next = scheduler_.next_queue_deadline();
    if (gauges_changed_) next = std::min(next, last_gauges + kGaugeInterval);
    timer_.WaitFor(&mu_, next - now);
  }
  mu_.Unlock();
}

void EngineImpl::ReportGauges() {
  MutexLock order(&gauges_mu_);
  GaugeSnapshot snapshot;
  std::vector<GaugeSnapshot::Share> shares;
  {
    MutexLock lock(&mu_);
    gauges_changed_ = false;
    snapshot = Gauges();
    shares = Shares();
  }
  snapshot.shares = shares.data();
  snapshot.share_count = static_cast<int>(shares.size());
  telemetry_->OnGauges(snapshot);
}

GaugeSnapshot EngineImpl::Gauges() const {
  const Load load = LoadLocked();
  GaugeSnapshot snapshot;
  snapshot.running = load.running;
  std::copy(std::begin(load.waiting), std::end(load.waiting), std::begin(snapshot.waiting));
  snapshot.kv_blocks_used = load.kv_blocks_used;
  snapshot.kv_blocks_total = load.kv_blocks_total;
  snapshot.kv_bytes_used = cache_.live_bytes();
  snapshot.kv_bytes_peak = cache_.live_peak_bytes();
  for (const Checkpoint* checkpoint : catalog_->all_checkpoints()) {
    snapshot.weights_bytes += checkpoint->runner->weights_bytes();
    snapshot.host_pinned_bytes += checkpoint->runner->host_pinned_bytes();
  }
  snapshot.activations_bytes = memory_.activations_bytes;
  snapshot.activations_bytes_peak = memory_.activations_bytes_peak;
  snapshot.attention_workspace_bytes = memory_.workspace_bytes;
  snapshot.attention_workspace_bytes_peak = memory_.workspace_bytes_peak;
  return snapshot;
}

// One for each model and backend that has requests.
std::vector<GaugeSnapshot::Share> EngineImpl::Shares() const {
  std::vector<GaugeSnapshot::Share> shares;
  const auto share_of = [&](const Sequence& sequence) ABSL_SHARED_LOCKS_REQUIRED(mu_) -> GaugeSnapshot::Share& {
    const Catalog::Choice& choice = jobs_.at(sequence.id)->choice;
    for (GaugeSnapshot::Share& share : shares) {
      if (share.model == choice.model->name && share.attention_backend == choice.variant->name) return share;
    }
    shares.push_back({choice.model->name, choice.variant->name});
    return shares.back();
  };
  for (const Sequence* sequence : scheduler_.running_sequences()) {
    GaugeSnapshot::Share& share = share_of(*sequence);
    ++share.running;
    share.kv_bytes += sequence->held_pages * cache_.page_bytes(sequence->spec.pool);
  }
  for (int priority = 0; priority < kPriorities; ++priority) {
    for (const auto& [id, sequence] : scheduler_.wait_queue().classes()[priority]) {
      ++share_of(*sequence).waiting[priority];
    }
  }
  return shares;
}

Engine::Load EngineImpl::load() const {
  MutexLock lock(&mu_);
  return LoadLocked();
}

Engine::Load EngineImpl::LoadLocked() const {
  Load load;
  load.running = scheduler_.running();
  for (int i = 0; i < kPriorities; ++i) load.waiting[i] = scheduler_.waiting(static_cast<Priority>(i));
  load.waiting_tokens = scheduler_.waiting_tokens();
  int64_t block = 1;  // of the checkpoint with the largest ones
  for (int i = 0; i < cache_.pools(); ++i) block = std::max(block, cache_.page_bytes(i));
  load.kv_blocks_total = options_.kv_cache_bytes / block;
  load.kv_blocks_used = std::min((cache_.live_bytes() + block - 1) / block, load.kv_blocks_total);
  load.kv_utilization =
      static_cast<double>(cache_.live_bytes()) / static_cast<double>(options_.kv_cache_bytes);
  load.queue_estimate = rate_.Estimate(scheduler_.waiting());
  return load;
}

}  // namespace precis::runtime
