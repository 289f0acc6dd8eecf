#ifndef PRECIS_SERVER_METRICS_REQUEST_SERIES_H_
#define PRECIS_SERVER_METRICS_REQUEST_SERIES_H_

#include "prometheus/labels.h"
#include "server/metrics/families.h"

namespace precis::server {

// The series of one set of request labels, found once and then written without any look-up. A series appears when it
// is first written. Thread-safe.
class RequestSeries {
 public:
  RequestSeries(Families* families, prometheus::Labels labels);

  const prometheus::Labels& labels() const { return labels_; }

  prometheus::Histogram* time_to_first_token() { return Get(time_to_first_token_, MetricId::kTimeToFirstToken); }
  prometheus::Histogram* time_per_output_token() { return Get(time_per_output_token_, MetricId::kTimePerOutputToken); }
  prometheus::Histogram* inter_token_latency() { return Get(inter_token_latency_, MetricId::kInterTokenLatency); }
  prometheus::Histogram* queue() { return Get(queue_, MetricId::kRequestQueue); }
  prometheus::Histogram* prefill() { return Get(prefill_, MetricId::kRequestPrefill); }
  prometheus::Histogram* decode() { return Get(decode_, MetricId::kRequestDecode); }
  prometheus::Histogram* energy() { return Get(energy_, MetricId::kRequestEnergy); }
  prometheus::Histogram* peak_memory() { return Get(peak_memory_, MetricId::kRequestPeakMemory); }
  // `error_type` empty: the call succeeded, and the label is absent.
  prometheus::Histogram* duration(std::string_view error_type);

  prometheus::Counter* prompt_tokens() { return Get(prompt_tokens_, MetricId::kPromptTokens); }
  prometheus::Counter* generation_tokens() { return Get(generation_tokens_, MetricId::kGenerationTokens); }
  prometheus::Counter* truncated_tokens() { return Get(truncated_tokens_, MetricId::kTruncatedTokens); }
  prometheus::Counter* preemptions() { return Get(preemptions_, MetricId::kPreemptions); }
  prometheus::Counter* prefix_queries() { return Get(prefix_queries_, MetricId::kPrefixCacheQueries); }
  prometheus::Counter* prefix_hits() { return Get(prefix_hits_, MetricId::kPrefixCacheHits); }

  // Shows the engine's counters at zero, so that a rate sees their first step.
  void StartCounters();

  // With labels of their own, looked up at each call.
  prometheus::Counter* Counter(MetricId id, const prometheus::Labels& own);
  prometheus::Histogram* Histogram(MetricId id, const prometheus::Labels& own);

 private:
  prometheus::Histogram* Get(Lazy<prometheus::Histogram>& slot, MetricId id);
  prometheus::Counter* Get(Lazy<prometheus::Counter>& slot, MetricId id);
  prometheus::Labels LabelsOf(MetricId id) const;

  Families* const families_;
  const prometheus::Labels labels_;
  Lazy<prometheus::Histogram> time_to_first_token_, time_per_output_token_, inter_token_latency_, queue_, prefill_,
      decode_, peak_memory_, energy_, duration_;
  Lazy<prometheus::Counter> prompt_tokens_, generation_tokens_, truncated_tokens_, preemptions_, prefix_queries_,
      prefix_hits_;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_REQUEST_SERIES_H_
