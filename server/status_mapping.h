#ifndef PRECIS_SERVER_STATUS_MAPPING_H_
#define PRECIS_SERVER_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace precis::server {

// A payload of this type URL on a RESOURCE_EXHAUSTED status means that trying again is of no use (a request that can
// never fit into memory): no RetryInfo, and a pushback of -1.
inline constexpr char kNoRetryPayload[] = "precis.dev/no-retry";

// What goes over the wire for a status of ours.
struct WireStatus {
  grpc::Status status;                               // with google.rpc.Status as details where there are some
  absl::Duration retry_after = absl::ZeroDuration();  // > 0: retry after this; < 0: don't; 0: not said
  std::string error_id;  // of an INTERNAL error; the message carries it and the log must, beside `detail`
  std::string detail;    // what only the log shows
};

// "INVALID_ARGUMENT".
std::string_view GrpcCodeName(grpc::StatusCode code);

// Codes that are part of the API pass; all others are bugs of ours and become INTERNAL with a fresh id. RESOURCE_EXHAUSTED gets
// google.rpc.RetryInfo with `queue_estimate`, between 100 ms and 30 s.
WireStatus ToWireStatus(const absl::Status& status, absl::Duration queue_estimate);

// The value of `grpc-retry-pushback-ms`, or empty where there is none.
std::string RetryPushback(const WireStatus& wire);

// 16 hexadecimal digits.
std::string RandomId();

}  // namespace precis::server

#endif  // PRECIS_SERVER_STATUS_MAPPING_H_
