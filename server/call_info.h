#ifndef PRECIS_SERVER_CALL_INFO_H_
#define PRECIS_SERVER_CALL_INFO_H_

#include <grpcpp/server_context.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "server/token_file.h"

namespace precis::server {

// What a call's metadata says.
struct CallInfo {
  const char* method = "";
  std::string request_id;   // `x-request-id`, or a new one
  std::string traceparent;  // W3C trace context, if it is well-formed
  std::string unit_id;      // `precis-unit-id`
  // All other ASCII metadata but the authorization, for experiments; the first value of each key.
  std::map<std::string, std::string> metadata;
  std::string authorization;
  std::shared_ptr<const Grant> grant;  // what its token allows; null if no tokens are asked for
  std::string peer;
  absl::Time start;
  absl::Time deadline = absl::InfiniteFuture();

  // The trace id within traceparent, or empty.
  std::string_view trace_id() const;
};

CallInfo ReadCallInfo(const grpc::CallbackServerContext& context, const char* method);

// True for version-traceid-parentid-flags as W3C's recommendation has it.
bool IsTraceparent(std::string_view text);

// Echoes x-request-id and traceparent.
void AddCallMetadata(const CallInfo& info, grpc::CallbackServerContext* context);

// `text` with what metadata may not hold (all but printable ASCII) replaced by '?'.
std::string MetadataText(std::string_view text);

}  // namespace precis::server

#endif  // PRECIS_SERVER_CALL_INFO_H_
