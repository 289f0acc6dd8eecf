#ifndef PRECIS_SERVER_METRICS_FAMILIES_H_
#define PRECIS_SERVER_METRICS_FAMILIES_H_

#include <array>
#include <atomic>

#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "server/metrics/metric_names.h"

namespace precis::server {

// The registry with one family for each entry of metric_names.h. Thread-safe.
class Families {
 public:
  Families();
  Families(const Families&) = delete;
  Families& operator=(const Families&) = delete;

  // The series with these labels, made if it is new. Pointers stay valid as long as the object. `id` must have the
  // method's type.
  prometheus::Counter* counter(MetricId id, const prometheus::Labels& labels);
  prometheus::Gauge* gauge(MetricId id, const prometheus::Labels& labels);
  prometheus::Histogram* histogram(MetricId id, const prometheus::Labels& labels);

  const prometheus::Registry& registry() const { return registry_; }

 private:
  struct Entry {
    prometheus::Family<prometheus::Counter>* counter = nullptr;
    prometheus::Family<prometheus::Gauge>* gauge = nullptr;
    prometheus::Family<prometheus::Histogram>* histogram = nullptr;
  };
  const Entry& entry(MetricId id) const { return entries_[static_cast<size_t>(id)]; }

  prometheus::Registry registry_;
  std::array<Entry, kMetricCount> entries_;
};

// A series that is made when it is first used. Thread-safe: two racing makers get the same series.
template <typename T>
class Lazy {
 public:
  template <typename Make>
  T* get(const Make& make) {
    T* value = value_.load(std::memory_order_acquire);
    if (value == nullptr) {
      value = make();
      value_.store(value, std::memory_order_release);
    }
    return value;
  }

 private:
  std::atomic<T*> value_{nullptr};
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_FAMILIES_H_
