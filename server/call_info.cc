#include "server/call_info.h"

#include "server/status_mapping.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kMaxIdBytes = 128;

std::string Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto entry = context.client_metadata().find(key);
  if (entry == context.client_metadata().end()) return "";
  return std::string(entry->second.data(), entry->second.size());
}

bool IsPrintable(std::string_view text) {
  for (const char c : text) {
    if (c < 0x20 || c > 0x7e) return false;
  }
  return true;
}

bool IsLowerHex(std::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isdigit(c) && !(c >= 'a' && c <= 'f')) return false;
  }
  return true;
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

bool IsTraceparent(std::string_view text) {
  // 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32), parent = text.substr(36, 16);
  if (!IsLowerHex(version) || version == "ff" || !IsLowerHex(trace) || !IsLowerHex(parent)) return false;
  if (!IsLowerHex(text.substr(53, 2)) || IsZero(trace) || IsZero(parent)) return false;
  if (text.size() == 55) return true;
  return version != "00" && text[55] == '-' && text.size() <= kMaxIdBytes && IsPrintable(text);
}

std::string_view CallInfo::trace_id() const {
  return traceparent.empty() ? std::string_view() : std::string_view(traceparent).substr(3, 32);
}

CallInfo ReadCallInfo(const grpc::CallbackServerContext& context, const char* method) {
  CallInfo info;
  info.method = method;
  info.start = absl::Now();
  info.request_id = Metadata(context, "x-request-id");
  if (info.request_id.empty() || info.request_id.size() > kMaxIdBytes || !IsPrintable(info.request_id)) {
    info.request_id = RandomId();
  }
  info.traceparent = Metadata(context, "traceparent");
  if (!IsTraceparent(info.traceparent)) info.traceparent.clear();
  info.unit_id = Metadata(context, "precis-unit-id");
  info.authorization = Metadata(context, "authorization");
  for (const auto& [key, value] : context.client_metadata()) {
    const std::string name(key.data(), key.size());
    if (name != "authorization" && !EndsWith(name, "-bin")) info.metadata.emplace(name, std::string(value.data(), value.size()));
  }
  info.peer = context.peer();
  const auto deadline = context.deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) info.deadline = absl::FromChrono(deadline);
  return info;
}

void AddCallMetadata(const CallInfo& info, grpc::CallbackServerContext* context) {
  context->AddInitialMetadata("x-request-id", info.request_id);
  if (!info.traceparent.empty()) context->AddInitialMetadata("traceparent", info.traceparent);
}

std::string MetadataText(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return out;
}

}  // namespace precis::server
