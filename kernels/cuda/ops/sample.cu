// The choice of tokens, a block a row: edits, arg-max, and where a temperature is set, temperature, top-k, top-p and the draw, as runtime/sampling does them on
// the host. Weights are exp((logit - largest) / temperature) as 2^-46 units in 64-bit integers, so that sums don't depend on their order; the k-th largest
// logit and the weight that reaches top_p are found by radix selection, 8 bits of the logit's ordered bits at a time.

#include "kernels/cuda/element_io.h"
#include "kernels/cuda/ops/sample_math.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kBins = 256;
constexpr float kUnits = 0x1.0p46;

using Mass = unsigned long long;

struct SampleShared {
  Mass mass[kBins];
  Mass thread_mass[kThreads];
  int count[kBins];
  int thread_count[kThreads];
  float value[kWarps];
  int id[kWarps];
};

struct Best {
  float value;
  int id;
};

// The larger value, then the lower id; NaN is less than all.
PRECIS_DEVICE Best Better(Best a, Best b) {
  const bool second = b.value > a.value || (b.value == a.value && b.id < a.id);
  return second ? b : a;
}

PRECIS_DEVICE Best ArgMax(const float* logits, int vocab, SampleShared* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  Best best = {-BitsToFloat(0x7f800000u), 0x7fffffff};
  constexpr int kInFlight = 16;  // loads at a time
  for (int first = thread; first < vocab; first += kThreads * kInFlight) {
    float v[kInFlight];
    PRECIS_UNROLL
    for (int i = 0; i < kInFlight; ++i) v[i] = first + i * kThreads < vocab ? logits[first + i * kThreads] : best.value;
    PRECIS_UNROLL
    for (int i = 0; i < kInFlight; ++i) {
      if (v[i] > best.value) best = {v[i], first + i * kThreads};
    }
  }
  PRECIS_UNROLL
  for (int mask = 16; mask > 0; mask >>= 1) best = Better(best, {ShuffleXor(best.value, mask), ShuffleXor(best.id, mask)});
  if (thread % 32 == 0) {
    shared->value[thread / 32] = best.value;
    shared->id[thread / 32] = best.id;
  }
  SyncThreads();
  for (int i = 0; i < kWarps; ++i) best = Better(best, {shared->value[i], shared->id[i]});
  if (best.id == 0x7fffffff) best.id = 0;  // nothing but NaN and -inf
  SyncThreads();
  return best;
}

// Penalties first, then bans: a token may have both. The host lists an id once for each.
PRECIS_DEVICE void Edit(float* logits, const GpuSampleArgs& p, const GpuSamplingRow& row) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = row.edit_begin + thread; i < row.edit_end; i += kThreads) {
    const int id = p.edits[i] & 0x7fffffff;
    if (p.edits[i] >= 0 || id >= p.vocab) continue;
    logits[id] = logits[id] < 0 ? logits[id] * row.repetition_penalty : logits[id] / row.repetition_penalty;
  }
  SyncThreads();
  for (int i = row.edit_begin + thread; i < row.edit_end; i += kThreads) {
    const int id = p.edits[i];
    if (id >= 0 && id < p.vocab) logits[id] = -BitsToFloat(0x7f800000u);
  }
  SyncThreads();
}

// Larger floats have larger keys; NaN and -inf have 0, which is never kept.
PRECIS_DEVICE uint32_t Key(float v) {
  if (!(v > -BitsToFloat(0x7f800000u))) return 0;
  const uint32_t bits = FloatToBits(v == 0 ? 0.0f : v);  // -0 and 0 are equal
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

struct Weigher {
  float top;
  float temperature;

  PRECIS_DEVICE Mass operator()(float v) const {
    return static_cast<Mass>(ExpDouble((static_cast<double>(v) - top) / temperature) * kUnits);
  }
};

// What lies above a key.
struct Above {
  uint32_t key;
  int count;
  Mass mass;
};

// The largest key such that the tokens with keys >= it (and >= lowest) number at least `count`, or weigh at least `mass`. By counts if kByCount.
template <bool kByCount>
PRECIS_DEVICE Above Select(const float* logits, int vocab, const Weigher& weigh, uint32_t lowest, int count, Mass mass, SampleShared* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  Above found = {0, 0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = thread; i < kBins; i += kThreads) {
      shared->count[i] = 0;
      shared->mass[i] = 0;
    }
    SyncThreads();
    const uint32_t high = shift == 24 ? 0 : ~uint32_t{0} << (shift + 8);
    for (int i = thread; i < vocab; i += kThreads) {
      const uint32_t key = Key(logits[i]);
      if (key == 0 || key < lowest || (key & high) != found.key) continue;
      const int bin = static_cast<int>(key >> shift & 255);
      AtomicAdd(&shared->count[bin], 1);
      if (!kByCount) AtomicAdd(&shared->mass[bin], weigh(logits[i]));
    }
    SyncThreads();
    // Every thread walks down the bins; the last bin that has anything is taken if the goal is not reached.
    int bin = -1;
    Above last = found;
    for (int i = kBins - 1; i >= 0; --i) {
      if (shared->count[i] == 0) continue;
      bin = i;
      last = found;
      found.count += shared->count[i];
      found.mass += shared->mass[i];
      if (kByCount ? found.count >= count : found.mass >= mass) break;
    }
    found = {found.key | static_cast<uint32_t>(bin < 0 ? 0 : bin) << shift, last.count, last.mass};
    SyncThreads();
  }
  return found;
}

// Sum over ids below this thread's, in shared->thread_mass / thread_count order; total in *total.
template <class T>
PRECIS_DEVICE T Before(T* values, T mine, T* total) {
  const int thread = static_cast<int>(threadIdx.x);
  values[thread] = mine;
  SyncThreads();
  for (int step = 1; step < kThreads; step *= 2) {
    const T other = thread >= step ? values[thread - step] : T{0};
    SyncThreads();
    values[thread] += other;
    SyncThreads();
  }
  *total = values[kThreads - 1];
  const T before = values[thread] - mine;
  SyncThreads();
  return before;
}

PRECIS_DEVICE void Draw(const float* logits, int vocab, const GpuSamplingRow& row, Best best, SampleShared* shared, int32_t* token) {
  const Weigher weigh = {best.value, row.temperature};
  uint32_t lowest = 1;
  if (row.top_k > 0 && row.top_k < vocab) lowest = Select<true>(logits, vocab, weigh, 1, row.top_k, 0, shared).key;
  if (lowest == 0) lowest = 1;
  // Each thread has neighbouring ids, so that sums in order of threads are in order of ids.
  const int thread = static_cast<int>(threadIdx.x), share = (vocab + kThreads - 1) / kThreads;
  const int begin = thread * share < vocab ? thread * share : vocab, end = begin + share < vocab ? begin + share : vocab;
  int equals_allowed = vocab;  // of tokens whose key is `lowest`, the first so many
  if (row.top_p < 1) {
    Mass mine = 0, total = 0;
    for (int i = begin; i < end; ++i) {
      if (Key(logits[i]) >= lowest) mine += weigh(logits[i]);
    }
    Before(shared->thread_mass, mine, &total);
    const Mass goal = static_cast<Mass>(static_cast<double>(row.top_p) * static_cast<double>(total));
    const Above at = Select<false>(logits, vocab, weigh, lowest, 0, goal > 0 ? goal : 1, shared);
    lowest = at.key > 0 ? at.key : 1;
    const Mass each = weigh(FromKey(lowest));
    equals_allowed = each == 0 || goal <= at.mass ? 1 : static_cast<int>((goal - at.mass + each - 1) / each);
  }
  int equals = 0, all_equals = 0;
  for (int i = begin; i < end; ++i) equals += Key(logits[i]) == lowest;
  const int equals_before = Before(shared->thread_count, equals, &all_equals);
  Mass mine = 0, total = 0;
  const auto visit = [&](auto&& take) {
    int seen = equals_before;
    for (int i = begin; i < end; ++i) {
      const uint32_t key = Key(logits[i]);
      if (key < lowest || (key == lowest && seen++ >= equals_allowed)) continue;
      take(i, weigh(logits[i]));
    }
  };
  visit([&](int, Mass weight) { mine += weight; });
  Mass sum = Before(shared->thread_mass, mine, &total);
  const Mass point = static_cast<Mass>(PhiloxUniform(row.seed, row.step) * static_cast<double>(total));
  if (point < sum || point >= sum + mine) return;  // another thread's
  bool done = false;
  visit([&](int i, Mass weight) {
    sum += weight;
    if (!done && point < sum) {
      *token = i;
      done = true;
    }
  });
}

PRECIS_KERNEL(kThreads, 1) SampleKernel(const GpuSampleArgs p) {
  SampleShared* shared = reinterpret_cast<SampleShared*>(DynamicShared());
  GridDependencyWait();
  GridDependencyLaunch();
  const int r = static_cast<int>(blockIdx.x);
  float* logits = p.logits + r * p.stride;
  GpuSamplingRow row = {};
  if (p.rows_options != nullptr) {
    row = p.rows_options[r];
    Edit(logits, p, row);
  }
  const Best best = ArgMax(logits, p.vocab, shared);
  if (threadIdx.x == 0) p.tokens[r] = best.id;
  const float infinity = BitsToFloat(0x7f800000u);
  if (row.temperature == 0 || row.top_k == 1 || !(best.value < infinity && best.value > -infinity)) return;
  SyncThreads();  // the arg-max stands before the draw replaces it
  Draw(logits, p.vocab, row, best, shared, p.tokens + r);
}

}  // namespace

void Sample(const GpuSampleArgs& args, Stream stream) {
  if (args.rows == 0) return;
  Launch(SampleKernel, {.grid = args.rows, .block = kThreads, .shared_bytes = static_cast<int>(sizeof(SampleShared)), .stream = stream, .dependent = true}, args);
}

int64_t SampleWorkspaceBytes(int /*rows*/, int /*vocab*/) { return 0; }

}  // namespace precis::kernels::PRECIS_GPU_NS
