#include "server/shadow.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr absl::Duration kSettle = absl::Milliseconds(20);  // idle for this long before a replay starts
constexpr absl::Duration kReplayLimit = absl::Minutes(2);

int LongestCommonSubsequence(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  std::vector<int> row(b.size() + 1, 0);
  for (const int32_t token : a) {
    int diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const int above = row[j + 1];
      row[j + 1] = token == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

double LogRatio(absl::Duration a, absl::Duration b) {
  return std::log(std::max(1e-6, absl::ToDoubleSeconds(a)) / std::max(1e-6, absl::ToDoubleSeconds(b)));
}

}  // namespace

ShadowPair ComparePair(const runtime::Result& control, const runtime::Result& arm) {
  ShadowPair out;
  const std::vector<int32_t>&a = control.token_ids, &b = arm.token_ids;
  const size_t common = std::min(a.size(), b.size()), longer = std::max(a.size(), b.size());
  size_t equal = 0;
  for (size_t i = 0; i < common; ++i) {
    equal += a[i] == b[i] ? 1 : 0;
    if (a[i] != b[i] && out.first_divergence < 0) out.first_divergence = static_cast<int>(i);
  }
  out.identical = a == b;
  if (!out.identical && out.first_divergence < 0) out.first_divergence = static_cast<int>(common);
  out.token_agreement = longer == 0 ? 1 : static_cast<double>(equal) / static_cast<double>(longer);
  out.rouge_l = a.size() + b.size() == 0 ? 1 : 2.0 * LongestCommonSubsequence(a, b) / static_cast<double>(a.size() + b.size());
  out.log_total_ratio = LogRatio(arm.accounting.total - arm.accounting.queue, control.accounting.total - control.accounting.queue);
  out.log_first_token_ratio = LogRatio(arm.accounting.prefill, control.accounting.prefill);
  return out;
}

ShadowRunner::ShadowRunner(ExperimentTracker* tracker, Metrics* metrics)
    : tracker_(tracker), metrics_(metrics), random_(std::random_device()()) {}

ShadowRunner::~ShadowRunner() { Stop(); }

void ShadowRunner::Start(runtime::Engine* engine) {
  {
    absl::MutexLock lock(&mutex_);
    engine_ = engine;
  }
  thread_ = std::thread([this] { Run(); });
}

void ShadowRunner::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    if (running_.has_value()) engine_->Cancel(*running_);
  }
  if (thread_.joinable()) thread_.join();
}

void ShadowRunner::Offer(std::shared_ptr<const ExperimentConfig> config, const Experiment& experiment, const runtime::Request& request,
                         const std::string& model) {
  if (experiment.shadow_ppm == 0) return;
  std::vector<const Arm*> arms;
  for (const Arm& arm : experiment.arms) {
    const auto& wanted = experiment.shadow_arms;
    if (&arm == &experiment.control_arm()) continue;
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), arm.name) != wanted.end()) arms.push_back(&arm);
  }
  absl::MutexLock lock(&mutex_);
  if (stop_ || arms.empty() || random_() % 1'000'000 >= experiment.shadow_ppm) return;
  const Arm* const arm = arms[random_() % arms.size()];
  if (waiting_.size() >= kMaxWaiting) {
    tracker_->OnShadowDropped(experiment, arm->name);
    metrics_->OnShadowPair(experiment.name, arm->name, "dropped", 0, 0);
    return;
  }
  waiting_.push_back({std::move(config), &experiment, arm, model, request, 0});
}

void ShadowRunner::OnUserBegins() {
  absl::MutexLock lock(&mutex_);
  ++users_;
  if (running_.has_value()) engine_->Cancel(*running_);
}

void ShadowRunner::OnUserEnds() {
  absl::MutexLock lock(&mutex_);
  --users_;
}

void ShadowRunner::Run() {
  const auto due = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || (!waiting_.empty() && idle()); };
  const auto busy = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !idle(); };
  while (true) {
    Sample sample;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&due));
      if (stop_) return;
      if (mutex_.AwaitWithTimeout(absl::Condition(&busy), kSettle)) continue;  // a user came, or the end
      sample = std::move(waiting_.front());
      waiting_.pop_front();
    }
    RunPair(std::move(sample));
  }
}

void ShadowRunner::RunPair(Sample sample) {
  const Arm* const control = &sample.experiment->control_arm();
  const Arm* order[2] = {control, sample.arm};
  {
    absl::MutexLock lock(&mutex_);
    if (random_() % 2 != 0) std::swap(order[0], order[1]);
  }
  std::optional<runtime::Result> results[2];
  bool failed = false;
  for (int i = 0; i < 2; ++i) {
    results[i] = Replay(sample, *order[i], &failed);
    if (!results[i].has_value()) break;
  }
  if (results[0].has_value() && results[1].has_value()) {
    const bool swapped = order[0] != control;
    const ShadowPair pair = ComparePair(*results[swapped ? 1 : 0], *results[swapped ? 0 : 1]);
    tracker_->OnShadowPair(*sample.experiment, sample.arm->name, pair);
    metrics_->OnShadowPair(sample.experiment->name, sample.arm->name, pair.identical ? "identical" : "different", pair.token_agreement, pair.first_divergence);
    return;
  }
  const bool give_up = failed || ++sample.tries >= kMaxTries;
  if (!give_up) {
    absl::MutexLock lock(&mutex_);
    if (stop_) return;
    waiting_.push_back(std::move(sample));
    return;
  }
  tracker_->OnShadowDropped(*sample.experiment, sample.arm->name);
  metrics_->OnShadowPair(sample.experiment->name, sample.arm->name, failed ? "failed" : "dropped", 0, 0);
}

std::optional<runtime::Result> ShadowRunner::Replay(const Sample& sample, const Arm& arm, bool* failed) {
  runtime::Request request = sample.request;
  request.attention_backend = arm.attention_backend;
  request.model = !arm.model.empty() ? arm.model : sample.model;
  request.priority = runtime::Priority::kLow;
  request.deadline = absl::Now() + kReplayLimit;
  request.labels = {std::string(runtime::kShadowLabel), arm.name};
  request.fresh_cache = true;
  absl::StatusOr<runtime::Result> result = absl::CancelledError("not begun");
  absl::Notification done;
  runtime::Engine* engine = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (stop_ || !idle()) return std::nullopt;
    engine = engine_;
  }
  // Without the lock, which users' requests take: this tokenises.
  const absl::StatusOr<runtime::RequestId> id = engine->Submit(std::move(request), {nullptr, [&](absl::StatusOr<runtime::Result> r) {
                                                                                      result = std::move(r);
                                                                                      done.Notify();
                                                                                    }});
  if (!id.ok()) {
    *failed = !absl::IsResourceExhausted(id.status());
    return std::nullopt;
  }
  bool late = false;
  {
    absl::MutexLock lock(&mutex_);
    running_ = *id;
    late = stop_ || !idle();
  }
  if (late) engine->Cancel(*id);
  done.WaitForNotification();
  absl::MutexLock lock(&mutex_);
  running_.reset();
  if (result.ok()) return *std::move(result);
  *failed = !absl::IsCancelled(result.status());
  return std::nullopt;
}

}  // namespace precis::server
