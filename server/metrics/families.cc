#include "server/metrics/families.h"

#include <string>
#include <vector>

namespace precis::server {
namespace {

template <typename Builder>
auto* Register(Builder builder, const MetricInfo& info, prometheus::Registry& registry) {
  return &builder.Name(std::string(info.name)).Help(std::string(info.help)).Register(registry);
}

}  // namespace

Families::Families() {
  for (size_t i = 0; i < kMetricCount; ++i) {
    const MetricInfo& info = kMetrics[i];
    switch (info.type) {
      case MetricType::kCounter:
        entries_[i].counter = Register(prometheus::BuildCounter(), info, registry_);
        break;
      case MetricType::kGauge:
        entries_[i].gauge = Register(prometheus::BuildGauge(), info, registry_);
        break;
      case MetricType::kHistogram:
        entries_[i].histogram = Register(prometheus::BuildHistogram(), info, registry_);
        break;
    }
  }
}

prometheus::Counter* Families::counter(MetricId id, const prometheus::Labels& labels) {
  return &entry(id).counter->Add(labels);
}

prometheus::Gauge* Families::gauge(MetricId id, const prometheus::Labels& labels) {
  return &entry(id).gauge->Add(labels);
}

prometheus::Histogram* Families::histogram(MetricId id, const prometheus::Labels& labels) {
  const Buckets buckets = Info(id).buckets;
  return &entry(id).histogram->Add(labels, prometheus::Histogram::BucketBoundaries(buckets.begin(), buckets.end()));
}

}  // namespace precis::server
