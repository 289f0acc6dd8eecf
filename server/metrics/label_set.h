#ifndef PRECIS_SERVER_METRICS_LABEL_SET_H_
#define PRECIS_SERVER_METRICS_LABEL_SET_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "prometheus/labels.h"
#include "runtime/base/mutex.h"
#include "runtime/telemetry.h"

namespace precis::server {

// The value that stands for what came after a bound was reached.
inline constexpr std::string_view kOtherLabel = "other";

// A label value that any scraper reads: valid UTF-8 (other bytes become '?'), at most 128 bytes, never empty.
std::string CleanLabel(std::string_view value);

// model, attention_backend, device, experiment, arm of `labels`, cleaned.
prometheus::Labels RequestScope(const runtime::RequestLabels& labels);
// model, attention_backend, device, cleaned.
prometheus::Labels BackendScope(std::string_view model, std::string_view backend, std::string_view device);
// `base` with one more label.
prometheus::Labels With(prometheus::Labels base, const char* name, std::string_view value);

// Passes at most `limit` distinct values through; later ones become "other". Thread-safe.
class BoundedValues {
 public:
  explicit BoundedValues(size_t limit) : limit_(limit) {}
  std::string Bound(std::string_view value);

 private:
  const size_t limit_;
  Mutex mutex_;
  absl::flat_hash_set<std::string> seen_ ABSL_GUARDED_BY(mutex_);
};

// One Series for each set of request labels, at most `limit` of them and one more, all labels "other", for what came
// later. Find is the hot path: no allocation for labels seen before. Thread-safe.
template <typename Series>
class SeriesMap {
 public:
  using Make = std::function<std::unique_ptr<Series>(prometheus::Labels)>;
  SeriesMap(size_t limit, Make make) : limit_(limit), make_(std::move(make)) {}

  // Stays valid as long as the map.
  Series* Find(const runtime::RequestLabels& labels) {
    {
      MutexLock lock(&mutex_);
      if (auto it = series_.find(labels); it != series_.end()) return it->second.get();
      if (series_.size() >= limit_ && other_ != nullptr) return other_.get();
    }
    return Insert(labels);
  }

  size_t size() const {
    MutexLock lock(&mutex_);
    return series_.size();
  }

 private:
  struct Key {
    std::string model, attention_backend, device, experiment, arm;
  };
  using View = std::tuple<std::string_view, std::string_view, std::string_view, std::string_view, std::string_view>;
  template <typename T>
  static View ViewOf(const T& t) {
    return View(t.model, t.attention_backend, t.device, t.experiment, t.arm);
  }
  struct Hash {
    using is_transparent = void;
    template <typename T>
    size_t operator()(const T& t) const {
      return absl::Hash<View>()(ViewOf(t));
    }
  };
  struct Equal {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return ViewOf(a) == ViewOf(b);
    }
  };

  Series* Insert(const runtime::RequestLabels& labels) {
    MutexLock lock(&mutex_);
    if (auto it = series_.find(labels); it != series_.end()) return it->second.get();
    if (series_.size() >= limit_) {
      if (other_ == nullptr) {
        other_ = make_(RequestScope({kOtherLabel, kOtherLabel, kOtherLabel, kOtherLabel, kOtherLabel}));
      }
      return other_.get();
    }
    Key key = {std::string(labels.model), std::string(labels.attention_backend), std::string(labels.device),
               std::string(labels.experiment), std::string(labels.arm)};
    auto& slot = series_[std::move(key)];
    slot = make_(RequestScope(labels));
    return slot.get();
  }

  const size_t limit_;
  const Make make_;
  mutable Mutex mutex_;
  absl::flat_hash_map<Key, std::unique_ptr<Series>, Hash, Equal> series_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Series> other_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_LABEL_SET_H_
