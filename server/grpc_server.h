#ifndef PRECIS_SERVER_GRPC_SERVER_H_
#define PRECIS_SERVER_GRPC_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/logger.h"
#include "server/options.h"

namespace precis::server {

struct GrpcServer {
  std::shared_ptr<grpc::ServerCredentials> credentials;  // outlives the server
  std::unique_ptr<grpc::Server> server;
  std::string address;  // as listened on, with the real port: "127.0.0.1:40123"
};

// Starts a gRPC server with the options' address, credentials, limits and keepalive.
// The services and the log outlive it. UNAVAILABLE if the address can't be bound.
absl::StatusOr<GrpcServer> StartGrpcServer(const ServerOptions& options, absl::Span<grpc::Service* const> services,
                                           Logger* log);

}  // namespace precis::server

#endif  // PRECIS_SERVER_GRPC_SERVER_H_
