#ifndef PRECIS_CLIENT_INTERNAL_CONNECTION_H_
#define PRECIS_CLIENT_INTERNAL_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/summarizer_client.h"

namespace precis::client {

absl::Status ValidateConnectionOptions(const ConnectionOptions& options);

// A channel by the options; reads the certificate files.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ConnectionOptions& options);

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_CONNECTION_H_
