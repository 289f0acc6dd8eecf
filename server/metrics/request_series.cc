#include "server/metrics/request_series.h"

#include <string_view>
#include <utility>

namespace precis::server {
namespace {

constexpr std::string_view kOperation = "text_completion";
constexpr std::string_view kProvider = "precis";

}  // namespace

RequestSeries::RequestSeries(Families* families, prometheus::Labels labels)
    : families_(families), labels_(std::move(labels)) {}

prometheus::Labels RequestSeries::LabelsOf(MetricId id) const {
  prometheus::Labels labels = labels_;
  if (Info(id).name.substr(0, 7) == "gen_ai_") {
    labels["gen_ai_operation_name"] = kOperation;
    labels["gen_ai_provider_name"] = kProvider;
    labels["gen_ai_request_model"] = labels_.at("model");
  }
  return labels;
}

prometheus::Histogram* RequestSeries::Get(Lazy<prometheus::Histogram>& slot, MetricId id) {
  return slot.get([&] { return families_->histogram(id, LabelsOf(id)); });
}

prometheus::Counter* RequestSeries::Get(Lazy<prometheus::Counter>& slot, MetricId id) {
  return slot.get([&] { return families_->counter(id, LabelsOf(id)); });
}

prometheus::Histogram* RequestSeries::duration(std::string_view error_type) {
  if (error_type.empty()) return Get(duration_, MetricId::kRequestDuration);
  return Histogram(MetricId::kRequestDuration, {{"error_type", std::string(error_type)}});
}

void RequestSeries::StartCounters() {
  prompt_tokens();
  generation_tokens();
  truncated_tokens();
  preemptions();
}

prometheus::Counter* RequestSeries::Counter(MetricId id, const prometheus::Labels& own) {
  prometheus::Labels labels = LabelsOf(id);
  labels.insert(own.begin(), own.end());
  return families_->counter(id, labels);
}

prometheus::Histogram* RequestSeries::Histogram(MetricId id, const prometheus::Labels& own) {
  prometheus::Labels labels = LabelsOf(id);
  labels.insert(own.begin(), own.end());
  return families_->histogram(id, labels);
}

}  // namespace precis::server
