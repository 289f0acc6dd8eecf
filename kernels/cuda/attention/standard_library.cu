// standard_prefill with the library's strided batched products, all heads of a sequence at once: gather its keys, scores of its rows; softmax of all
// sequences; gather its values, weighted sums. The shapes are the sequences' own, so the host must know them. Unlike our own products these compute the whole
// rectangle, and their order of sums is the library's.

#include "kernels/cuda/attention/standard.h"

#ifndef PRECIS_SIMT
#include "kernels/gpu/cublas.h"
#endif

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;

struct GatherParams {
  const char* part;  // keys or values of the layer in page 0
  int64_t page_stride;
  const int32_t* table;
  char* gathered;  // [head][context][head_dim]
  int context;
  int pieces;  // of 16 bytes, in a token's row of one head
};

// Grid: pages, heads.
PRECIS_KERNEL(kThreads, 1) GatherKernel(const GatherParams p) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int page = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int first = page * kTokensPerPage;
  const int tokens = p.context - first < kTokensPerPage ? p.context - first : kTokensPerPage;
  const char* source = p.part + p.table[page] * p.page_stride + static_cast<int64_t>(head) * kTokensPerPage * p.pieces * 16;
  char* target = p.gathered + (static_cast<int64_t>(head) * p.context + first) * p.pieces * 16;
  for (int i = static_cast<int>(threadIdx.x); i < tokens * p.pieces; i += kThreads) {
    Store16(target + static_cast<int64_t>(i) * 16, Load16(source + static_cast<int64_t>(i) * 16));
  }
}

void Gather(const GpuAttentionArgs& args, int sequence, const char* part, Stream stream) {
  const GpuSequences& s = args.sequences;
  GatherParams p;
  p.part = part;
  p.page_stride = args.cache.page_stride;
  p.table = s.block_table + static_cast<int64_t>(sequence) * s.block_table_stride;
  p.gathered = static_cast<char*>(args.workspace);
  p.context = s.host_context_length[sequence];
  p.pieces = args.cache.head_dim / 8;
  LaunchConfig config;
  config.grid.x = CeilDiv(p.context, kTokensPerPage);
  config.grid.y = args.cache.heads;
  config.block.x = kThreads;
  config.stream = stream;
  config.dependent = true;
  Launch(GatherKernel, config, p);
}

// c [n][m] = sum over k of b [n][k] * (a [m][k] or, not transposed, a [k][m]), rows lda, ldb, ldc elements apart, for every head.
struct Product {
  bool a_transposed;
  int m, n, k;
  const void* a;
  int64_t lda, a_head;
  const void* b;
  int64_t ldb, b_head;
  void* c;
  int64_t ldc, c_head;
};

#ifdef PRECIS_SIMT

// What the library computes, for the tests of all around it: device memory is the host's.
bool HaveLibrary() { return true; }
void Multiply(const Product& p, int heads, Stream) {
  for (int h = 0; h < heads; ++h) {
    const auto* a = static_cast<const Bf16*>(p.a) + h * p.a_head;
    const auto* b = static_cast<const Bf16*>(p.b) + h * p.b_head;
    auto* c = static_cast<Bf16*>(p.c) + h * p.c_head;
    for (int n = 0; n < p.n; ++n) {
      for (int m = 0; m < p.m; ++m) {
        float sum = 0;
        for (int k = 0; k < p.k; ++k) sum = Fma(ToFloat(b[n * p.ldb + k]), ToFloat(p.a_transposed ? a[m * p.lda + k] : a[k * p.lda + m]), sum);
        c[n * p.ldc + m] = ToBf16(sum);
      }
    }
  }
}

#else

bool HaveLibrary() { return cublas::Load() != nullptr; }
void Multiply(const Product& p, int heads, Stream stream) {
  const cublas::Library& lib = *cublas::Load();
  const float one = 1, zero = 0;
  int status = lib.SetStream(lib.handle, stream.handle);
  if (status == 0) {
    status = lib.GemmStridedBatchedEx(lib.handle, p.a_transposed ? cublas::kTransposed : cublas::kNotTransposed, cublas::kNotTransposed, p.m, p.n, p.k, &one, p.a,
                                      cublas::kTypeBf16, static_cast<int>(p.lda), p.a_head, p.b, cublas::kTypeBf16, static_cast<int>(p.ldb), p.b_head, &zero,
                                      p.c, cublas::kTypeBf16, static_cast<int>(p.ldc), p.c_head, heads, cublas::kComputeF32, cublas::kDefaultAlgorithm);
  }
  if (status != 0) KeepLaunchError(cudaErrorLaunchFailure);
}

#endif

// A sequence's rows that lie in the chunk: row `first` of the batch's buffers is row `score_row` of the chunk.
struct Rows {
  int first, count, score_row;
};

Rows RowsInChunk(const GpuSequences& s, int sequence, int before, const ScoreMatrix& scores) {
  const int begin = before > scores.first_row ? before : scores.first_row;
  const int end_of_sequence = before + s.host_query_count[sequence], end_of_chunk = scores.first_row + scores.rows;
  const int end = end_of_sequence < end_of_chunk ? end_of_sequence : end_of_chunk;
  return Rows{s.host_query_begin[sequence] + begin - before, end - begin, begin - scores.first_row};
}

// Scores (or, with `values`, outputs) of every sequence's rows in the chunk.
void Products(const GpuAttentionArgs& args, const ScoreMatrix& scores, bool values, Stream stream) {
  const GpuSequences& s = args.sequences;
  const int heads = args.cache.heads, head_dim = args.cache.head_dim;
  int before = 0;
  for (int i = 0; i < s.count; before += s.host_query_count[i], ++i) {
    const Rows rows = RowsInChunk(s, i, before, scores);
    if (rows.count <= 0) continue;
    const int context = s.host_context_length[i];
    Gather(args, i, values ? args.cache.values : args.cache.keys, stream);
    char* score_rows = scores.data + rows.score_row * scores.row_bytes;
    const int64_t row = scores.row_bytes / 2, head = scores.head_bytes / 2, gathered_head = static_cast<int64_t>(context) * head_dim;
    if (values) {
      char* output = static_cast<char*>(args.output) + rows.first * args.output_stride * 2;
      Multiply(Product{false, head_dim, rows.count, context, args.workspace, head_dim, gathered_head, score_rows, row, head, output, args.output_stride, head_dim},
               heads, stream);
    } else {
      const char* queries = static_cast<const char*>(args.qkv) + rows.first * args.qkv_stride * 2;
      Multiply(Product{true, context, rows.count, head_dim, args.workspace, head_dim, gathered_head, queries, args.qkv_stride, head_dim, score_rows, row, head},
               heads, stream);
    }
  }
}

}  // namespace

bool StandardPrefillLibrary(const PrefillParams& p, const GpuAttentionArgs& args, int chunk, Stream stream) {
  const GpuSequences& s = args.sequences;
  if (args.cache.type != GpuType::kBf16 || s.max_query <= 1) return false;
  if (s.host_query_begin == nullptr || s.host_query_count == nullptr || s.host_context_length == nullptr || !HaveLibrary()) return false;
  char* matrix = static_cast<char*>(args.workspace) + GatherBytes(args.cache.heads, args.cache.head_dim, s.max_context);
  for (int first = 0; first < s.total_queries; first += chunk) {
    const int rows = s.total_queries - first < chunk ? s.total_queries - first : chunk;
    const ScoreMatrix scores = MakeScoreMatrix(matrix, s.max_context, 2, first, rows);
    Products(args, scores, false, stream);
    StandardSoftmax(p, scores, args, true, stream);
    Products(args, scores, true, stream);
  }
  return true;
}

}  // namespace precis::kernels::PRECIS_GPU_NS
