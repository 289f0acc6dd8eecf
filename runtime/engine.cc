#include "runtime/engine.h"

#include "runtime/engine/engine_impl.h"

namespace precis::runtime {

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<Catalog> catalog, const EngineOptions& options,
                                                       Telemetry* telemetry) {
  return EngineImpl::Create(std::move(catalog), options, telemetry);
}

}  // namespace precis::runtime
