#include "server/metrics/label_set.h"

#include "runtime/base/utf8.h"

namespace precis::server {
namespace {

constexpr size_t kMaxLabelBytes = 128;

}  // namespace

std::string CleanLabel(std::string_view value) {
  if (value.empty()) return "none";
  std::string clean;
  while (!value.empty()) {
    const runtime::Utf8Unit unit = runtime::ReadUtf8(value);
    const auto length = static_cast<size_t>(unit.length);
    const std::string_view shown = unit.kind == runtime::Utf8Unit::kCodePoint ? value.substr(0, length) : "?";
    if (clean.size() + shown.size() > kMaxLabelBytes) break;
    clean += shown;
    value.remove_prefix(length);
  }
  return clean;
}

prometheus::Labels BackendScope(std::string_view model, std::string_view backend, std::string_view device) {
  return {{"model", CleanLabel(model)}, {"attention_backend", CleanLabel(backend)}, {"device", CleanLabel(device)}};
}

prometheus::Labels RequestScope(const runtime::RequestLabels& labels) {
  prometheus::Labels result = BackendScope(labels.model, labels.attention_backend, labels.device);
  result["experiment"] = CleanLabel(labels.experiment);
  result["arm"] = CleanLabel(labels.arm);
  return result;
}

prometheus::Labels With(prometheus::Labels base, const char* name, std::string_view value) {
  base[name] = CleanLabel(value);
  return base;
}

std::string BoundedValues::Bound(std::string_view value) {
  std::string clean = CleanLabel(value);
  MutexLock lock(&mutex_);
  if (seen_.contains(clean)) return clean;
  if (seen_.size() >= limit_) return std::string(kOtherLabel);
  seen_.insert(clean);
  return clean;
}

}  // namespace precis::server
