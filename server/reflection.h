#ifndef PRECIS_SERVER_REFLECTION_H_
#define PRECIS_SERVER_REFLECTION_H_

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <vector>

#include "server/server_core.h"

namespace precis::server {

// grpc.reflection.v1 and v1alpha over the generated descriptor pool: what is served, and how its messages look. With tokens, a call needs one
// that allows reflection. gRPC's own plugin is not used: it can't ask for a token, it is v1alpha only, and it joins
// every server of the process. The services are thread-safe; `core` outlives them.
std::vector<std::unique_ptr<grpc::Service>> MakeReflectionServices(ServerCore* core);

}  // namespace precis::server

#endif  // PRECIS_SERVER_REFLECTION_H_
