#include "server/server_core.h"

namespace precis::server {

absl::Status ServerCore::Authenticate(const CallInfo& info) {
  if (authenticator == nullptr) return absl::OkStatus();
  return authenticator->Check(info.authorization);
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
