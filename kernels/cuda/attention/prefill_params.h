#ifndef PRECIS_KERNELS_CUDA_ATTENTION_PREFILL_PARAMS_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_PREFILL_PARAMS_H_

// Parameters of the prefill kernels, and the query tiles that their blocks take.

#include "kernels/cuda/attention/attention_common.h"

namespace precis::kernels::PRECIS_GPU_NS {

struct PrefillParams {
  const char* q;
  int64_t q_stride;  // bytes
  char* output;
  int64_t output_stride;  // bytes
  float* log_sum_exp;     // or null
  int64_t log_sum_exp_stride;
  PagedKv kv;
  BatchRows rows;
  float scale_log2;
  const float* slopes;  // or null
};

inline PrefillParams MakePrefillParams(const GpuAttentionArgs& args, int element_bytes) {
  PrefillParams p;
  p.q = static_cast<const char*>(args.qkv);
  p.q_stride = args.qkv_stride * element_bytes;
  p.output = static_cast<char*>(args.output);
  p.output_stride = args.output_stride * element_bytes;
  p.log_sum_exp = args.log_sum_exp;
  p.log_sum_exp_stride = args.qkv_rows;
  p.kv = MakePagedKv(args.cache);
  p.rows = MakeBatchRows(args.sequences);
  p.scale_log2 = args.scale * kLog2E;
  p.slopes = args.alibi_slopes;
  return p;
}

// The rows of a sequence at positions [rows * block, rows * block + rows): row r of the tile stands at position + r; those in [begin, end) exist, row r being row
// first_row + r of the batch (first_row may be negative).
struct QueryTile {
  int position;
  int begin, end;
  int64_t first_row;
  int64_t score_row = 0;  // standard: row 0's index in the score matrix (may be negative)
};

PRECIS_DEVICE QueryTile MakeQueryTile(const PrefillParams& p, int sequence, int block, int rows) {
  const int count = p.rows.query_count[sequence], context = p.rows.context_length[sequence];
  const int first_query = context - count;
  QueryTile t;
  t.position = block * rows;
  t.begin = first_query > t.position ? first_query - t.position : 0;
  t.end = context - t.position < rows ? context - t.position : rows;
  t.first_row = static_cast<int64_t>(p.rows.query_begin[sequence]) + t.position - first_query;
  return t;
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_PREFILL_PARAMS_H_
