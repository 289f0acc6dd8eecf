#ifndef PRECIS_KERNELS_ATTENTION_H_
#define PRECIS_KERNELS_ATTENTION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/attention_kinds.h"
#include "kernels/device.h"
#include "kernels/thread_pool.h"

namespace precis::kernels {

// Tokens in a page of the KV cache.
inline constexpr int kPageTokens = 16;

std::string_view AlgorithmName(Algorithm algorithm);  // "materialised", "tiled"
std::string_view PositionsName(Positions positions);  // "learned", "alibi"

// What one attention backend is. The list is attention/variants.h; flag help, RPCs, metric labels, tests and
// benchmarks iterate it, so a new backend is one file in variants/ and one line in that list.
struct AttentionVariant {
  std::string_view name;         // in the API and in metric labels
  std::string_view description;  // one sentence, for people
  Algorithm algorithm;
  Positions positions;
};

// All variants, in the order in which they are listed to users.
absl::Span<const AttentionVariant> AttentionVariants();
// nullptr if there is none of that name.
const AttentionVariant* FindAttentionVariant(std::string_view name);
// "standard, standard_alibi, flash, flash_alibi", for error messages.
std::string AttentionVariantNames();

// ALiBi slopes per head (Press et al. 2022, and its rule for head counts that are no power of two).
std::vector<float> AlibiSlopes(int heads);

// One layer's part of the paged KV cache. Page p of the pool starts at base + p * page_stride_bytes.
//   keys of a page   [heads][head_dim][kPageTokens]   transposed, so that one vector holds one dimension of 16 keys
//   values of a page [heads][kPageTokens][head_dim]
struct KvLayerView {
  char* keys = nullptr;    // the layer's keys in page 0
  char* values = nullptr;  // the layer's values in page 0
  int64_t page_stride_bytes = 0;
  DType dtype = DType::kF32;  // kF32 or kBf16
  int heads = 0;
  int head_dim = 0;  // even, <= 256
};

// Bytes of one layer's keys (or values) of one page.
int64_t KvPageBytes(DType dtype, int heads, int head_dim);

// Consecutive rows of a ragged batch that belong to one sequence. Row i (0 <= i < query_count) stands at absolute
// position context_length - query_count + i and sees positions 0 .. its own.
struct AttentionSequence {
  int query_begin = 0;  // index of its first row in query and output
  int query_count = 0;
  int context_length = 0;  // tokens in the cache, the queries' own included (written before)
  const int32_t* block_table = nullptr;  // ceil(context_length / kPageTokens) page ids
};

struct AttentionArgs {
  const float* query = nullptr;  // [rows][heads][head_dim], rows query_stride floats apart
  int64_t query_stride = 0;
  float* output = nullptr;  // [rows][heads][head_dim], rows output_stride floats apart
  int64_t output_stride = 0;
  KvLayerView cache;
  absl::Span<const AttentionSequence> sequences;
  float scale = 0;                          // 1/sqrt(head_dim) for GPT-2
  absl::Span<const float> alibi_slopes;     // [heads] for Positions::kAlibi, else empty
  // Scratch of at least AttentionWorkspaceBytes(...), 64-byte aligned.
  char* workspace = nullptr;
  int64_t workspace_bytes = 0;
};

// Bytes of scratch that RunAttention needs for these sequences. kMaterialised: the score matrix
// [heads][query_count][context] of the largest sequence, cut to chunks of query rows when that exceeds `limit_bytes` (at least one row).
// kTiled: one tile a thread, whatever the lengths.
int64_t AttentionWorkspaceBytes(const AttentionVariant& variant, int heads, int head_dim,
                                absl::Span<const AttentionSequence> sequences, int threads,
                                int64_t limit_bytes);

// Causal attention of `variant` over the paged cache. Every output row is a function of its own query and of the keys and
// values at its own positions alone, with one order of operations: its bits don't depend on the other rows, on
// query_count (prefill, chunk or decode), on which pages hold it, or on the number of threads.
// Keys and values that aren't written yet (past context_length) may hold anything, NaN included. An empty batch is fine.
void RunAttention(const AttentionVariant& variant, const AttentionArgs& args, CpuIsa isa,
                  ThreadPool& pool);

// Writes new keys and values into their pages. Row i of `keys` and `values` ([heads][head_dim], `stride` floats apart)
// goes to slot slots[i] % kPageTokens of page slots[i] / kPageTokens.
void WriteKv(const KvLayerView& cache, const float* keys, const float* values, int64_t stride,
             absl::Span<const int64_t> slots, CpuIsa isa, ThreadPool& pool);

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_ATTENTION_H_
