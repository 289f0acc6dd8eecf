// Loss and its gradient in place. One block a row; the first pass keeps a running maximum and a sum rescaled to it (Milakov and Gimelshein 2018), so the
// row is read twice and written once: 3 x 2 bytes an element in bf16. At 50,257 tokens a row of 100 KB comes from L2 the second time.

#include <cmath>

#include "kernels/backward/train_list.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kLowest = -3.4e38f;

// max and sum of 2^(x - max), x in units of log2.
struct Softmax {
  float max;
  float sum;
};

PRECIS_DEVICE Softmax Merge(Softmax a, Softmax b) {
  const float max = a.max > b.max ? a.max : b.max;
  return {max, a.sum * Exp2(a.max - max) + b.sum * Exp2(b.max - max)};
}

PRECIS_DEVICE Softmax MergeBlock(Softmax mine, Softmax* scratch) {
  PRECIS_UNROLL
  for (int mask = 16; mask > 0; mask >>= 1) {
    const Softmax other = {ShuffleXor(mine.max, mask), ShuffleXor(mine.sum, mask)};
    // The lower lane's part first on both sides: equal bits in all lanes.
    mine = (threadIdx.x & mask) ? Merge(other, mine) : Merge(mine, other);
  }
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = mine;
  SyncThreads();
  Softmax all = scratch[0];
  PRECIS_UNROLL
  for (int i = 1; i < kThreads / 32; ++i) all = Merge(all, scratch[i]);
  return all;
}

// Calls body(value, index) for the elements of this thread, or lets it change them: 16 bytes at a time, then the tail.
template <bool kWrite, class T, class Body>
PRECIS_DEVICE void ForEach(T* row, int count, Body body) {
  constexpr int kWide = kPerVector<T>;
  const int vectors = count / kWide;
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
    float v[kWide];
    LoadVector(row + i * kWide, v);
    PRECIS_UNROLL
    for (int j = 0; j < kWide; ++j) body(v[j], i * kWide + j);
    if (kWrite) StoreVector(row + i * kWide, v);
  }
  for (int i = vectors * kWide + threadIdx.x; i < count; i += kThreads) {
    float v = LoadElement(row + i);
    body(v, i);
    if (kWrite) StoreElement(row + i, v);
  }
}

template <class T>
PRECIS_KERNEL(kThreads, 4) CrossEntropyKernel(const PRECIS_GRID_CONSTANT CrossEntropyArgs a) {
  const int r = blockIdx.x;
  T* row = static_cast<T*>(a.logits) + r * a.stride;
  const int target = a.targets[r];
  if (target < 0) {
    ForEach<true>(row, a.vocab, [](float& v, int) { v = 0; });
    if (threadIdx.x == 0) a.loss[r] = 0;
    return;
  }
  Softmax mine = {kLowest, 0};
  ForEach<false>(row, a.vocab, [&](float v, int) {
    const float x = v * kLog2e;
    if (x > mine.max) {
      mine.sum *= Exp2(mine.max - x);
      mine.max = x;
    }
    mine.sum += Exp2(x - mine.max);
  });
  const float target_logit = LoadElement(row + target);
  const Softmax all = MergeBlock(mine, reinterpret_cast<Softmax*>(DynamicShared()));
  const float weight = a.weights != nullptr ? a.weights[r] : 1.0f;
  if (threadIdx.x == 0) a.loss[r] = weight * ((all.max + ::log2f(all.sum)) * kLn2 - target_logit);
  const float scale = a.gradient_scale * weight;
  const float share = scale / all.sum;
  SyncThreads();  // the target's logit has been read by all
  ForEach<true>(row, a.vocab, [&](float& v, int j) {
    v = share * Exp2(v * kLog2e - all.max) - (j == target ? scale : 0.0f);
  });
}

}  // namespace

void CrossEntropy(const CrossEntropyArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const LaunchConfig config = {.grid = Dim3(args.rows), .block = Dim3(kThreads),
                               .shared_bytes = kThreads / 32 * int{sizeof(Softmax)}, .stream = stream};
  if (args.type == GpuType::kBf16) {
    Launch(CrossEntropyKernel<Bf16>, config, args);
  } else {
    Launch(CrossEntropyKernel<float>, config, args);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
