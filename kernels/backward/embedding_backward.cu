#include "kernels/backward/train_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 128;

PRECIS_KERNEL(kThreads, 4) EmbeddingBackwardKernel(const PRECIS_GRID_CONSTANT EmbeddingBackwardArgs a) {
  const int group = blockIdx.x;
  const int c = blockIdx.y * kThreads + threadIdx.x;
  if (c >= a.width) return;
  const int begin = group == 0 ? 0 : a.group_end[group - 1];
  float sum = 0;
  for (int i = begin; i < a.group_end[group]; ++i) sum += a.dx[int64_t{a.rows[i]} * a.width + c];
  a.table_gradient[int64_t{a.group_id[group]} * a.width + c] += sum;
}

}  // namespace

void EmbeddingBackward(const EmbeddingBackwardArgs& args, Stream stream) {
  if (args.groups == 0) return;
  const LaunchConfig config = {.grid = Dim3(args.groups, (args.width + kThreads - 1) / kThreads), .block = Dim3(kThreads),
                               .stream = stream};
  Launch(EmbeddingBackwardKernel, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
