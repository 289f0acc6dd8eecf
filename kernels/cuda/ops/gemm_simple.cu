#include "kernels/cuda/ops/gemm_common.h"
#include "kernels/cuda/ops_list.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kSide = 16;

PRECIS_DEVICE float Read(const float* p) { return *p; }
PRECIS_DEVICE float Read(const Bf16* p) { return ToFloat(*p); }
PRECIS_DEVICE float Read(const int8_t* p) { return static_cast<float>(*p); }

// A thread an element of a 16 x 16 tile; 16 values of k at a time by shared memory.
template <class X, class W>
PRECIS_KERNEL(kSide * kSide, 4) GemmSimpleKernel(const GemmArgs p) {
  float* x_tile = reinterpret_cast<float*>(DynamicShared());
  float* w_tile = x_tile + kSide * (kSide + 1);
  GridDependencyWait();
  GridDependencyLaunch();
  const int i = static_cast<int>(threadIdx.x) / kSide, j = static_cast<int>(threadIdx.x) % kSide;
  const int m = static_cast<int>(blockIdx.y) * kSide + i, first_n = static_cast<int>(blockIdx.x) * kSide;
  float sum = 0;
  for (int k0 = 0; k0 < p.k; k0 += kSide) {
    const int k = k0 + j;
    x_tile[i * (kSide + 1) + j] = m < p.m && k < p.k ? Read(static_cast<const X*>(p.x) + m * p.x_stride + k) : 0.0f;
    w_tile[i * (kSide + 1) + j] = first_n + i < p.n && k < p.k ? Read(static_cast<const W*>(p.w) + static_cast<int64_t>(first_n + i) * p.k + k) : 0.0f;
    SyncThreads();
    for (int c = 0; c < kSide; ++c) sum = Fma(x_tile[i * (kSide + 1) + c], w_tile[j * (kSide + 1) + c], sum);
    SyncThreads();
  }
  StoreOutput(p, m, first_n + j, sum);
}

template <class X>
void LaunchSimple(const GemmArgs& args, Stream stream) {
  const LaunchConfig config = {.grid = {(args.n + kSide - 1) / kSide, (args.m + kSide - 1) / kSide},
                               .block = kSide * kSide,
                               .shared_bytes = 2 * kSide * (kSide + 1) * 4,
                               .stream = stream,
                               .dependent = true};
  switch (args.w_type) {
    case GpuType::kF32: return Launch(GemmSimpleKernel<X, float>, config, args);
    case GpuType::kBf16: return Launch(GemmSimpleKernel<X, Bf16>, config, args);
    case GpuType::kI8: return Launch(GemmSimpleKernel<X, int8_t>, config, args);
  }
}

}  // namespace

void GemmSimple(const GemmArgs& args, Stream stream) {
  args.x_type == GpuType::kF32 ? LaunchSimple<float>(args, stream) : LaunchSimple<Bf16>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
