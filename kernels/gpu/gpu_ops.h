#ifndef PRECIS_KERNELS_GPU_GPU_OPS_H_
#define PRECIS_KERNELS_GPU_GPU_OPS_H_

// What the GPU kernels compute, for both devices (CUDA, SIMT). Pointers are device memory unless a comment says host. This header is plain C++: no CUDA,
// no Abseil, so that nvcc and g++ read it alike. T is the activation type of the mode: bf16, or f32 in the f32 mode (tests, --weights=f32).

#include <cstdint>

#include "kernels/gpu/stream.h"

namespace precis::kernels {

enum class GpuType : uint8_t { kF32, kBf16, kI8 };
enum class GpuActivation : uint8_t { kNone, kGeluTanh, kGeluErf, kRelu, kSilu, kQuickGelu };

// x[i] = token_table[tokens[i]] (+ position_table[positions[i]]). A negative token stands for chosen[~token]: what the step before chose.
struct EmbedArgs {
  const int32_t* tokens;
  const int32_t* chosen;
  const int32_t* positions;
  const void* token_table;      // [vocab][width], table_type
  const void* position_table;   // or null (ALiBi)
  const float* token_scale;     // [vocab] with kI8
  const float* position_scale;  // [positions] with kI8
  GpuType table_type;
  float* x;  // [rows][width]
  int rows, width;
};

// x[r] += delta[r] + delta_bias first, if delta is set (stored back); then y[i] = (x - mean) / sqrt(var + eps) * gain + bias, for i < rows, of row r = row_index ? row_index[i] : i.
struct LayerNormArgs {
  float* x;  // [.][width]
  const void* delta;        // T or null
  const float* delta_bias;  // or null
  const float* gain;
  const float* bias;
  const int32_t* row_index;  // or null
  void* y;                   // T
  GpuType type;              // T
  float epsilon;
  int rows, width;
};

enum class GemmMode : uint8_t {
  kInvariant,  // own kernels: bits of a row don't depend on the number of rows
  kFast,       // the library, or whatever was measured fastest
};
// y[m][n] = activation(sum_k x[m][k] w[n][k] (* scale[n]) + bias[n]) (+ y[m][n] if accumulate).
struct GemmArgs {
  const void* x;  // [m][k], T, rows x_stride elements apart
  int64_t x_stride;
  const void* w;         // [n][k] packed, w_type (kF32 only with T = f32)
  const float* w_scale;  // [n] with kI8
  const float* bias;     // [n] or null
  void* y;               // [m][n], y_type
  int64_t y_stride;
  int m, n, k;
  GpuType x_type, w_type, y_type;
  GpuActivation activation;
  bool accumulate;  // y_type kF32 only
  GemmMode mode;
  void* workspace;  // gemm_workspace_bytes
  int64_t workspace_bytes;
  // bias again, in bf16, or null: in kFast mode the library adds it itself where y is bf16; without it a pass of our own does.
  const void* bias_bf16 = nullptr;
  // For fused_norm_gemm: x is f32 [m][k], normalised by these (LayerNormArgs) and rounded to bf16 before the product.
  const float* norm_gain = nullptr;
  const float* norm_bias = nullptr;
  float norm_epsilon = 0;
};

// One layer of the paged cache: keys of (page, head, token) at keys + page * page_stride + ((head * 16 + token) * head_dim) * size; values alike.
struct GpuKvLayer {
  char* keys;
  char* values;
  int64_t page_stride;  // bytes
  GpuType type;         // T
  int heads, head_dim;
  // For engines that load by tensor maps: the whole arena's base and the index of this layer's keys among the parts of a page (2 * layer).
  char* arena;
  int64_t part_bytes;
  int64_t pages;
  int parts;  // 2 * layers
  int key_part;
};

// Sequences of a ragged batch. Row i of sequence s stands at position context_length - query_count + i and sees 0 .. its own position.
struct GpuSequences {
  const int32_t* query_begin;     // [count] index of its first row in qkv and output
  const int32_t* query_count;     // [count], may be 0
  const int32_t* context_length;  // [count]
  const int32_t* block_table;     // [count][block_table_stride]
  int block_table_stride;
  int count;
  // Host knowledge that sizes grids: upper bounds are enough (a decode graph is captured with its bucket's bounds).
  int max_query;
  int max_context;
  int total_queries;
  // Host memory: the three arrays again, or null. standard_prefill uses the library's products (GemmMode::kFast) only with them: its shapes are the host's.
  const int32_t* host_query_begin = nullptr;
  const int32_t* host_query_count = nullptr;
  const int32_t* host_context_length = nullptr;
};

struct GpuAttentionArgs {
  const void* qkv;  // [rows][3 * heads * head_dim], T; only q is read, k and v come from the cache
  int64_t qkv_stride;  // elements
  int64_t qkv_rows;    // rows that may be read (the buffer's, not the batch's)
  void* output;  // [rows][heads * head_dim], T
  int64_t output_stride;
  float* log_sum_exp;  // [heads][qkv_rows] natural logarithm, or null
  GpuKvLayer cache;
  GpuSequences sequences;
  float scale;
  const float* alibi_slopes;  // [heads], or null for learned positions
  void* workspace;
  int64_t workspace_bytes;
  GemmMode mode;  // for standard: whose matrix products
  // For flash_decode: [count * heads], all zero, and all zero again afterwards (not shared by streams); null: the splits are joined by a second launch.
  uint32_t* decode_counters = nullptr;
  // flash_decode: all keys and values but each sequence's last, and the sequences' arrays, were there before the kernel before this one began. Then they are
  // read before it has ended.
  bool only_last_is_new = false;
};

// keys and values of row i (k at +width, v at +2 width in qkv) to slot slots[i] % 16 of page slots[i] / 16; a slot < 0 is skipped.
struct GpuWriteKvArgs {
  const void* qkv;
  int64_t qkv_stride;
  const int64_t* slots;
  GpuKvLayer cache;
  int rows;
};

// One row's choice of a token, on the device. Greedy: temperature 0.
struct GpuSamplingRow {
  float temperature;
  float top_p;
  float repetition_penalty;
  int32_t top_k;  // 0: all
  uint64_t seed;
  uint64_t step;
  int32_t edit_begin, edit_end;  // of edits: tokens that are banned (id) or penalised (id with bit 31 set)
};
struct GpuSampleArgs {
  float* logits;  // [rows][stride]; changed in place
  int64_t stride;
  int vocab;
  int rows;
  const GpuSamplingRow* rows_options;  // [rows]; null: arg-max for all
  const int32_t* edits;
  int32_t* tokens;  // [rows]: the choice (lowest id among the largest; NaN never wins)
  void* workspace;
  int64_t workspace_bytes;
};

// Every function enqueues on the stream; errors come out of GpuDevice::Synchronize. Workspace functions are host arithmetic.
struct GpuOps {
  void (*embed)(const EmbedArgs&, Stream);
  void (*layer_norm)(const LayerNormArgs&, Stream);
  void (*gemm)(const GemmArgs&, Stream);
  int64_t (*gemm_workspace_bytes)(int m, int n, int k, GemmMode);
  void (*write_kv)(const GpuWriteKvArgs&, Stream);
  // Any number of query rows a sequence. Tiled (flash): sm_90a engine for head size 64 on Hopper, else sm_80's.
  void (*flash_prefill)(const GpuAttentionArgs&, Stream);
  // A workspace with which flash_prefill is faster, 0 if there is none; it works without.
  int64_t (*flash_prefill_workspace_bytes)(int heads, int head_dim, int sequences, int max_query, int max_context, bool alibi);
  // Scores materialised; query rows in chunks when workspace_bytes forces it (at least standard_workspace_bytes(.., 1 row)).
  void (*standard_prefill)(const GpuAttentionArgs&, Stream);
  int64_t (*standard_workspace_bytes)(int heads, int head_dim, int max_query, int max_context, int total_queries, GpuType);
  // Query rows that standard_prefill takes at a time with this workspace: total_queries if it is not cut into chunks, 0 if the workspace is too small.
  int (*standard_chunk_rows)(int heads, int head_dim, int max_query, int max_context, int total_queries, GpuType, int64_t workspace_bytes);
  // One query row a sequence; splits of 256 keys at absolute positions, reduced in order.
  void (*flash_decode)(const GpuAttentionArgs&, Stream);
  // Workspace: standard_workspace_bytes with max_query 1 and total_queries = sequences.
  void (*standard_decode)(const GpuAttentionArgs&, Stream);
  // Of flash_decode.
  int64_t (*decode_workspace_bytes)(int heads, int head_dim, int sequences, int max_context);
  void (*sample)(const GpuSampleArgs&, Stream);
  int64_t (*sample_workspace_bytes)(int rows, int vocab);
  // layer_norm and gemm in one launch, with the same bits as the two: for the few rows of a decode step. Only where fused_norm_gemm_takes.
  void (*fused_norm_gemm)(const GemmArgs&, Stream);
  bool (*fused_norm_gemm_takes)(const GemmArgs&);
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_GPU_GPU_OPS_H_
