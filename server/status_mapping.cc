#include "server/status_mapping.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_format.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr absl::Duration kShortestRetry = absl::Milliseconds(100);
constexpr absl::Duration kLongestRetry = absl::Seconds(30);

bool IsPartOfApi(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kUnauthenticated:
      return true;
    default:
      return false;
  }
}

grpc::Status WithDetails(grpc::StatusCode code, const std::string& message, const google::protobuf::Message& detail) {
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(message);
  details.add_details()->PackFrom(detail);
  return grpc::Status(code, message, details.SerializeAsString());
}

WireStatus Internal(const absl::Status& status) {
  WireStatus wire;
  wire.error_id = RandomId();
  wire.detail = status.ToString();
  const std::string message =
      StrCat("internal error ", wire.error_id,
                   "; this is a bug of the server, whose log has the details under this id; please report both");
  google::rpc::RequestInfo info;
  info.set_request_id(wire.error_id);
  wire.status = WithDetails(grpc::StatusCode::INTERNAL, message, info);
  return wire;
}

}  // namespace

std::string_view GrpcCodeName(grpc::StatusCode code) {
  constexpr std::string_view kNames[] = {
      "OK",                "CANCELLED",           "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND",         "ALREADY_EXISTS",      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",           "OUT_OF_RANGE",        "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS",         "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

WireStatus ToWireStatus(const absl::Status& status, absl::Duration queue_estimate) {
  if (!IsPartOfApi(status.code())) return Internal(status);
  WireStatus wire;
  // The numbers of absl's codes are gRPC's.
  const auto code = static_cast<grpc::StatusCode>(status.raw_code());
  const std::string message(status.message());
  wire.status = grpc::Status(code, message);
  if (code != grpc::StatusCode::RESOURCE_EXHAUSTED) return wire;
  if (status.GetPayload(kNoRetryPayload).has_value()) {
    wire.retry_after = absl::Milliseconds(-1);
    return wire;
  }
  wire.retry_after = std::clamp(queue_estimate, kShortestRetry, kLongestRetry);
  const int64_t ms = absl::ToInt64Milliseconds(wire.retry_after);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(ms / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ms % 1000) * 1'000'000);
  wire.status = WithDetails(code, message, retry);
  return wire;
}

std::string RetryPushback(const WireStatus& wire) {
  if (wire.retry_after == absl::ZeroDuration()) return "";
  return StrCat(absl::ToInt64Milliseconds(wire.retry_after));
}

std::string RandomId() {
  thread_local std::mt19937_64 generator{[] {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  }()};
  return absl::StrFormat("%016x", generator());
}

}  // namespace precis::server
