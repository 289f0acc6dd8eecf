#include "server/load_report.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>

#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace precis::server {
namespace {

constexpr absl::Duration kCpuInterval = absl::Milliseconds(500);

absl::Duration ProcessCpuTime() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

int AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace

LoadReporter::LoadReporter() : cpu_time_(absl::Now()), cpu_used_(ProcessCpuTime()) {}

void LoadReporter::OnFinished(bool ok, absl::Time now) {
  const int64_t second = absl::ToUnixSeconds(now);
  absl::MutexLock lock(&mutex_);
  Bucket& bucket = buckets_[static_cast<size_t>(second) % buckets_.size()];
  if (bucket.second != second) bucket = {second, 0, 0};
  ++bucket.requests;
  if (!ok) ++bucket.errors;
}

double LoadReporter::CpuUtilization(absl::Time now) {
  const absl::Duration elapsed = now - cpu_time_;
  if (elapsed < kCpuInterval) return cpu_utilization_;
  const absl::Duration used = ProcessCpuTime();
  cpu_utilization_ = std::max(0.0, absl::FDivDuration(used - cpu_used_, elapsed) / AllowedCpus());
  cpu_time_ = now;
  cpu_used_ = used;
  return cpu_utilization_;
}

std::string LoadReporter::Report(const runtime::Engine* engine, absl::Time now) {
  xds::data::orca::v3::OrcaLoadReport report;
  {
    absl::MutexLock lock(&mutex_);
    const int64_t second = absl::ToUnixSeconds(now);
    int64_t requests = 0, errors = 0;
    for (const Bucket& bucket : buckets_) {  // whole seconds only
      if (bucket.second >= second || bucket.second < second - kSeconds) continue;
      requests += bucket.requests;
      errors += bucket.errors;
    }
    report.set_rps_fractional(static_cast<double>(requests) / kSeconds);
    report.set_eps(static_cast<double>(errors) / kSeconds);
    report.set_cpu_utilization(CpuUtilization(now));
  }
  report.set_application_utilization(report.cpu_utilization());
  if (engine != nullptr) {
    const runtime::Engine::Load load = engine->load();
    int64_t waiting = 0;
    for (const int n : load.waiting) waiting += n;
    report.set_mem_utilization(std::clamp(load.kv_utilization, 0.0, 1.0));
    auto& named = *report.mutable_named_metrics();
    named["kv_cache_utilization"] = load.kv_utilization;
    named["queue_depth"] = static_cast<double>(waiting);
    named["queue_tokens"] = static_cast<double>(load.waiting_tokens);
    named["running"] = load.running;
    named["queue_seconds"] = std::min(absl::ToDoubleSeconds(load.queue_estimate), 1e9);
    report.set_application_utilization(std::max(report.cpu_utilization(), load.kv_utilization));
  }
  return report.SerializeAsString();
}

}  // namespace precis::server
