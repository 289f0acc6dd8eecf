#include "server/server_core.h"

#include <utility>

namespace precis::server {

absl::Status ServerCore::Authenticate(Permission permission, CallInfo* info) const {
  if (authenticator == nullptr) return absl::OkStatus();
  absl::StatusOr<std::shared_ptr<const Grant>> grant = authenticator->Check(info->authorization);
  if (!grant.ok()) return grant.status();
  info->grant = *std::move(grant);
  return info->grant->Check(permission, info->method);
}

absl::Status ServerCore::CheckServing() const {
  if (refusing.load()) {
    return absl::UnavailableError("the server is draining before it stops; try again at another replica");
  }
  if (engine.load() == nullptr) {
    return absl::UnavailableError("the server is still loading its models; try again when grpc.health.v1 says SERVING");
  }
  return absl::OkStatus();
}

}  // namespace precis::server
