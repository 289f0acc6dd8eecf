#ifndef PRECIS_SERVER_GRPC_SERVER_H_
#define PRECIS_SERVER_GRPC_SERVER_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/health.h"
#include "server/options.h"
#include "server/service.h"

namespace precis::server {

struct GrpcServer {
  std::unique_ptr<grpc::Server> server;
  std::string address;  // as listened on, with the real port: "127.0.0.1:40123"
};

// Starts a gRPC server with the options' address, credentials, limits and keepalive, and with server reflection.
// The services outlive it. UNAVAILABLE if the address can't be bound.
absl::StatusOr<GrpcServer> StartGrpcServer(const ServerOptions& options, SummarizerService* service,
                                           HealthService* health);

}  // namespace precis::server

#endif  // PRECIS_SERVER_GRPC_SERVER_H_
