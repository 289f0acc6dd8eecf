#ifndef PRECIS_RUNTIME_MODEL_CPU_RUNNER_H_
#define PRECIS_RUNTIME_MODEL_CPU_RUNNER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "runtime/model/catalog.h"
#include "runtime/model/model_runner.h"

namespace precis::runtime {

// Loads config.json and the tensors of `directory` and packs them for the CPU. `context_limit`, if not 0, bounds context_tokens() further. `pool` is shared by the runners of one engine.
absl::StatusOr<std::unique_ptr<ModelRunner>> LoadCpuRunner(const std::string& directory, const LoadOptions& options, int context_limit,
                                                           std::shared_ptr<kernels::ThreadPool> pool);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_CPU_RUNNER_H_
