#include "runtime/model/gpu_graphs.h"

#include "runtime/model/status_macros.h"

namespace precis::runtime {

absl::Status GpuGraphs::Run(const std::vector<int>& key, kernels::Stream stream, const std::function<absl::Status()>& work) {
  if (!device_->has_graphs()) return work();
  auto found = graphs_.find(key);
  if (found == graphs_.end()) {
    if (graphs_.size() >= kMost) graphs_.clear();
    graphs_.emplace(key, nullptr);
    return work();
  }
  if (found->second == nullptr) {
    PRECIS_TRY(device_->BeginCapture(stream));
    const absl::Status recorded = work();
    auto graph = device_->EndCapture(stream);
    PRECIS_TRY(recorded);
    PRECIS_TRY(graph.status());
    found->second = *std::move(graph);
  }
  found->second->Launch(stream);
  return absl::OkStatus();
}

}  // namespace precis::runtime
