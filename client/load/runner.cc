#include "client/load/runner.h"

#include <algorithm>
#include <iostream>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

namespace precis::load {
namespace {

std::string BackendOf(const v1::SummarizeRequest& request) {
  return request.attention_backend().empty() ? "default" : request.attention_backend();
}

}  // namespace

// One call's clock; touched by its callbacks only, which don't overlap.
struct Runner::Call {
  absl::Time intended;
  absl::Time last;
  Sample sample;

  void OnDelta() {
    const absl::Time now = absl::Now();
    if (sample.time_to_first_token < 0) {
      sample.time_to_first_token = absl::ToDoubleSeconds(now - intended);
    } else {
      sample.gaps.push_back(static_cast<float>(absl::ToDoubleSeconds(now - last)));
    }
    last = now;
  }

  void OnDone(const absl::StatusOr<v1::SummarizeResponse>& response) {
    sample.latency = absl::ToDoubleSeconds(absl::Now() - intended);
    sample.code = absl::StatusCodeToString(response.status().code());
    if (!response.ok()) return;
    sample.backend = response->attention_backend();
    sample.new_tokens = response->accounting().new_tokens();
    sample.prompt_tokens = response->accounting().prompt_tokens();
  }
};

absl::Status Runner::WarmUp() {
  for (const std::string& backend : workload_->backends()) {
    for (int i = 0; i < options_.warmup && !*interrupted_; ++i) {
      v1::SummarizeRequest request = workload_->NextRequest();
      request.set_attention_backend(backend);
      const absl::Status status =
          client_->Summarize(request, {.timeout = options_.connection.Deadline()}).status();
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

void Runner::Start(absl::Time intended) {
  const v1::SummarizeRequest request = workload_->NextRequest();
  bool room;
  {
    absl::MutexLock lock(&mutex_);
    ++started_;
    room = in_flight_ < options_.max_in_flight;
    if (room) ++in_flight_;
  }
  if (!room) return Drop(request);
  auto call = std::make_shared<Call>();
  call->intended = intended;
  call->sample.backend = BackendOf(request);
  client_->StartStream(
      request,
      {.on_delta = [call](std::string_view) { call->OnDelta(); },
       .on_done =
           [this, call](const absl::StatusOr<v1::SummarizeResponse>& response) {
             call->OnDone(response);
             Record(std::move(call->sample));
           }},
      {.timeout = options_.connection.Deadline(), .retry = false});
}

void Runner::Record(Sample sample) {
  absl::MutexLock lock(&mutex_);
  samples_.push_back(std::move(sample));
  --in_flight_;
}

void Runner::Drop(const v1::SummarizeRequest& request) {
  absl::MutexLock lock(&mutex_);
  samples_.push_back({.backend = BackendOf(request), .code = "DROPPED"});
}

bool Runner::WaitUntil(absl::Time time) {
  while (!*interrupted_) {
    const absl::Time now = absl::Now();
    Progress(now);
    if (now >= time) return true;
    absl::SleepFor(std::min(time - now, absl::Milliseconds(50)));
  }
  return false;
}

Stage Runner::RunOpenLoop(double rate) {
  const absl::Time start = stage_start_ = absl::Now();
  const absl::Time end = start + options_.Duration();
  absl::Time intended = start + workload_->NextGap(rate);
  for (int64_t i = 0; i < options_.max_requests && intended < end; ++i) {
    if (!WaitUntil(intended)) break;
    Start(intended);
    intended += workload_->NextGap(rate);
  }
  return Finish(rate, start);
}

Stage Runner::RunClosedLoop() {
  const absl::Time start = stage_start_ = absl::Now();
  const absl::Time end = start + options_.Duration();
  const auto room = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return in_flight_ < options_.concurrency; };
  for (int64_t i = 0; i < options_.max_requests && !*interrupted_ && absl::Now() < end;) {
    Progress(absl::Now());
    bool ready;
    {
      absl::MutexLock lock(&mutex_);
      ready = mutex_.AwaitWithTimeout(absl::Condition(&room), absl::Milliseconds(50));
    }
    if (!ready) continue;
    Start(absl::Now());
    ++i;
  }
  return Finish(0, start);
}

Stage Runner::Finish(double rate, absl::Time start) {
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return in_flight_ == 0; };
  while (true) {
    Progress(absl::Now());
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&none), absl::Milliseconds(50))) break;
  }
  Stage stage;
  stage.rate = rate;
  stage.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  absl::MutexLock lock(&mutex_);
  stage.samples.swap(samples_);
  started_ = 0;
  if (!options_.quiet) std::cerr << std::endl;
  return stage;
}

void Runner::Progress(absl::Time now) {
  if (options_.quiet || now < next_progress_) return;
  next_progress_ = now + absl::Seconds(1);
  absl::MutexLock lock(&mutex_);
  const auto failed = std::count_if(samples_.begin(), samples_.end(), [](const Sample& s) { return s.code != "OK"; });
  std::cerr << absl::StrFormat("\r%6.0f s: %d sent, %d answered, %d failed, %d in flight ",
                               absl::ToDoubleSeconds(now - stage_start_), started_, samples_.size(), failed, in_flight_)
            << std::flush;
}

}  // namespace precis::load
