#ifndef PRECIS_KERNELS_CUDA_ATTENTION_STANDARD_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_STANDARD_H_

// What standard_prefill and standard_decode share: the score matrix in memory and the softmax over it.

#include "kernels/cuda/attention/attention_common.h"
#include "kernels/cuda/attention/prefill_params.h"
#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {

inline constexpr int kScoreTile = 64;     // columns are computed in tiles of so many keys
inline constexpr int kStandardRows = 128; // query rows of a block, at absolute positions

// Scores, later weights, in T: [heads][rows of the chunk][stride]. The chunk is rows [first_row, first_row + rows) of the batch, counted
// in the order of its sequences.
struct ScoreMatrix {
  char* data;
  int64_t row_bytes;
  int64_t head_bytes;
  int first_row;
  int rows;
};

inline int64_t ScoreRowBytes(int max_context, int element_bytes) { return RoundUp64(max_context, kScoreTile) * element_bytes; }

inline ScoreMatrix MakeScoreMatrix(void* workspace, int max_context, int element_bytes, int first_row, int rows) {
  const int64_t row_bytes = ScoreRowBytes(max_context, element_bytes);
  return ScoreMatrix{static_cast<char*>(workspace), row_bytes, row_bytes * rows, first_row, rows};
}

// Cuts the tile to the chunk's rows and says where they lie in the score matrix. To be called by whole warps.
PRECIS_DEVICE void CutToChunk(QueryTile& t, const PrefillParams& p, const ScoreMatrix& scores, int sequence) {
  int before = 0;  // rows of the sequences before this one
  for (int i = static_cast<int>(threadIdx.x) % 32; i < sequence; i += 32) before += p.rows.query_count[i];
  PRECIS_UNROLL
  for (int mask = 16; mask > 0; mask >>= 1) before += ShuffleXor(before, mask);
  const int first_query = p.rows.context_length[sequence] - p.rows.query_count[sequence];
  t.score_row = before + t.position - first_query - scores.first_row;
  const int64_t begin = -t.score_row, end = scores.rows - t.score_row;
  if (begin > t.begin) t.begin = static_cast<int>(begin < t.end ? begin : t.end);
  if (end < t.end) t.end = static_cast<int>(end > t.begin ? end : t.begin);
}

// Row 0 of the tile in the score matrix.
PRECIS_DEVICE char* ScoreRow(const ScoreMatrix& scores, int head, const QueryTile& t) {
  return scores.data + head * scores.head_bytes + t.score_row * scores.row_bytes;
}

// Mask, scale, bias and softmax of every row of the chunk, in place; columns from the row's own position to the end of its block's tiles (`whole_rows`: of the
// context's tiles) become zero (standard_softmax.cu).
void StandardSoftmax(const PrefillParams& p, const ScoreMatrix& scores, const GpuAttentionArgs& args, bool whole_rows, Stream stream);

// Bytes of one sequence's keys or values, gathered from its pages for the library.
inline int64_t GatherBytes(int heads, int head_dim, int max_context) { return RoundUp64(static_cast<int64_t>(heads) * head_dim * max_context * 2, 256); }

// standard_prefill with the library's batched products (standard_library.cu). False where there is no library: nothing was enqueued then. `chunk`: rows at a time.
bool StandardPrefillLibrary(const PrefillParams& p, const GpuAttentionArgs& args, int chunk, Stream stream);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_STANDARD_H_
