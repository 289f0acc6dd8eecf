#ifndef PRECIS_CLIENT_INTERNAL_STATUS_H_
#define PRECIS_CLIENT_INTERNAL_STATUS_H_

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace precis::client {

// The call's status; a server that can't be reached is told apart, in words, from one that answered UNAVAILABLE.
// Takes `grpc-retry-pushback-ms` from the context's trailing metadata (`context` may be null).
absl::Status ToAbslStatus(const grpc::Status& status, const grpc::ClientContext* context,
                          const std::string& address);

// For SummarizeMany, whose answers carry the wish in a field.
void SetRetryAfter(absl::Duration wait, absl::Status* status);

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_STATUS_H_
