#include "server/grpc_server.h"

#include <grpcpp/server_builder.h>

#include <algorithm>
#include <limits>

#include "server/credentials.h"
#include "server/text.h"

namespace precis::server {
namespace {

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(
      std::min<int64_t>(absl::ToInt64Milliseconds(duration), std::numeric_limits<int>::max()));
}

void SetLimits(const ServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(-1);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(options.max_streams_per_connection));
  // Without this a second server could share the port silently.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Milliseconds(options.keepalive_min_interval));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.max_connection_age));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(options.max_connection_age_grace));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(options.max_connection_idle));
}

}  // namespace

absl::StatusOr<GrpcServer> StartGrpcServer(const ServerOptions& options, absl::Span<grpc::Service* const> services,
                                           Logger* log) {
  grpc::ServerBuilder builder;
  int port = 0;
  GrpcServer result;
  result.credentials = MakeCredentials(options, log);
  builder.AddListeningPort(options.listen, result.credentials, &port);
  SetLimits(options, &builder);
  for (grpc::Service* service : services) builder.RegisterService(service);
  result.server = builder.BuildAndStart();
  const bool is_unix = StartsWith(options.listen, "unix:");
  if (result.server == nullptr || (port <= 0 && !is_unix)) {
    return absl::UnavailableError(StrCat("can't listen on ", options.listen,
                                               "; the address may be in use or not of this machine (--listen)"));
  }
  result.address =
      is_unix ? options.listen : StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", port);
  return result;
}

}  // namespace precis::server
