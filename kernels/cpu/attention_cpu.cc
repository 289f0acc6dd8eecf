#include <algorithm>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cpu/dispatch.h"

namespace precis::kernels {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

int VariantIndex(const AttentionVariant& variant) {
  return static_cast<int>(FindAttentionVariant(variant.name) - AttentionVariants().data());
}

// Floats from one row of scores to the next: whole pages.
int64_t ScoreStride(int context) { return DivideUp(context, kPageTokens) * kPageTokens; }

// Scores and row sums of one query row of all heads.
int64_t MaterialisedRowBytes(int heads, int context) {
  return static_cast<int64_t>(sizeof(float)) * heads * (ScoreStride(context) + 1);
}

int64_t ElementBytes(DType dtype) { return dtype == DType::kBf16 ? 2 : 4; }

// Rows [row, row + rows) of a sequence, one head.
AttentionBlock MakeBlock(const AttentionArgs& args, const AttentionSequence& sequence, int head, int row, int rows,
                         char* scratch) {
  const KvLayerView& cache = args.cache;
  AttentionBlock b;
  const int64_t column = static_cast<int64_t>(head) * cache.head_dim;
  b.query = args.query + (sequence.query_begin + row) * args.query_stride + column;
  b.query_stride = args.query_stride;
  b.output = args.output + (sequence.query_begin + row) * args.output_stride + column;
  b.output_stride = args.output_stride;
  b.rows = rows;
  b.first_position = sequence.context_length - sequence.query_count + row;
  const int64_t head_bytes = kPageTokens * cache.head_dim * ElementBytes(cache.dtype);
  b.keys = cache.keys + head * head_bytes;
  b.values = cache.values + head * head_bytes;
  b.page_stride = cache.page_stride_bytes;
  b.block_table = sequence.block_table;
  b.bf16 = cache.dtype == DType::kBf16;
  b.head_dim = cache.head_dim;
  b.scale = args.scale;
  b.slope = args.alibi_slopes.empty() ? 0.0f : args.alibi_slopes[head];
  b.scratch = scratch;
  return b;
}

// Blocks of all sequences, each sequence's longest first so that the threads end together.
void RunTiled(const AttentionKernels& kernels, const AttentionArgs& args, ThreadPool& pool) {
  static thread_local std::vector<int64_t> kept;  // between calls, so that a step allocates nothing
  std::vector<int64_t>& first_task = kept;          // the workers see the caller's
  first_task.clear();
  int64_t tasks = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    first_task.push_back(tasks);
    tasks += DivideUp(sequence.query_count, kQueryBlock) * args.cache.heads;
  }
  const int64_t scratch_bytes = AttentionScratchBytes(args.cache.head_dim);
  pool.ParallelFor(tasks, [&](int64_t task, int worker) {
    const size_t index = std::upper_bound(first_task.begin(), first_task.end(), task) - first_task.begin() - 1;
    const AttentionSequence& sequence = args.sequences[index];
    const int64_t blocks = DivideUp(sequence.query_count, kQueryBlock);
    const int64_t local = task - first_task[index];
    const int head = static_cast<int>(local % args.cache.heads);
    const int row = static_cast<int>(blocks - 1 - local / args.cache.heads) * kQueryBlock;
    kernels.tiled(MakeBlock(args, sequence, head, row, std::min(kQueryBlock, sequence.query_count - row),
                            args.workspace + worker * scratch_bytes));
  });
}

// One pass over the blocks of `chunk`, whose score matrix [heads][query_count][stride] and sums [heads][query_count] lie in the workspace.
void MaterialisedPass(AttentionFunction function, const AttentionArgs& args, const AttentionSequence& chunk,
                      ThreadPool& pool) {
  const int64_t blocks = DivideUp(chunk.query_count, kQueryBlock);
  const int64_t stride = ScoreStride(chunk.context_length);
  const int64_t scratch_bytes = AttentionScratchBytes(args.cache.head_dim);
  float* scores = reinterpret_cast<float*>(args.workspace + pool.threads() * scratch_bytes);
  float* sums = scores + args.cache.heads * chunk.query_count * stride;
  pool.ParallelFor(blocks * args.cache.heads, [&](int64_t task, int worker) {
    const int head = static_cast<int>(task % args.cache.heads);
    const int row = static_cast<int>(blocks - 1 - task / args.cache.heads) * kQueryBlock;
    AttentionBlock b = MakeBlock(args, chunk, head, row, std::min(kQueryBlock, chunk.query_count - row),
                                 args.workspace + worker * scratch_bytes);
    const int64_t matrix_row = static_cast<int64_t>(head) * chunk.query_count + row;
    b.scores = scores + matrix_row * stride;
    b.scores_stride = stride;
    b.sums = sums + matrix_row;
    function(b);
  });
}

void RunMaterialised(const AttentionKernels& kernels, const AttentionArgs& args, ThreadPool& pool) {
  const int64_t scratch = pool.threads() * AttentionScratchBytes(args.cache.head_dim);
  for (const AttentionSequence& sequence : args.sequences) {
    const int first_position = sequence.context_length - sequence.query_count;
    for (int row = 0; row < sequence.query_count;) {
      const int64_t row_bytes = MaterialisedRowBytes(args.cache.heads, sequence.context_length);
      const int64_t fits = std::max<int64_t>(1, (args.workspace_bytes - scratch) / row_bytes);
      AttentionSequence chunk = sequence;
      chunk.query_begin += row;
      chunk.query_count = static_cast<int>(std::min<int64_t>(sequence.query_count - row, fits));
      chunk.context_length = first_position + row + chunk.query_count;
      MaterialisedPass(kernels.scores, args, chunk, pool);
      MaterialisedPass(kernels.softmax, args, chunk, pool);
      MaterialisedPass(kernels.values, args, chunk, pool);
      row += chunk.query_count;
    }
  }
}

}  // namespace

int64_t KvPageBytes(DType dtype, int heads, int head_dim) {
  return ElementBytes(dtype) * heads * head_dim * kPageTokens;
}

int64_t AttentionWorkspaceBytes(const AttentionVariant& variant, int heads, int head_dim,
                                absl::Span<const AttentionSequence> sequences, int threads, int64_t limit_bytes) {
  const int64_t scratch = threads * AttentionScratchBytes(head_dim);
  if (variant.algorithm == Algorithm::kTiled) return scratch;
  int64_t largest = 0;
  for (const AttentionSequence& sequence : sequences) {
    if (sequence.query_count <= 0) continue;
    const int64_t row = MaterialisedRowBytes(heads, sequence.context_length);
    const int64_t whole = row * sequence.query_count;
    largest = std::max(largest, std::max(row, std::min(whole, limit_bytes - scratch)));
  }
  return DivideUp(scratch + largest, 64) * 64;
}

void RunAttention(const AttentionVariant& variant, const AttentionArgs& args, CpuIsa isa, ThreadPool& pool) {
  const AttentionKernels& kernels = KernelsFor(isa).attention[VariantIndex(variant)];
  if (variant.algorithm == Algorithm::kTiled) {
    RunTiled(kernels, args, pool);
  } else {
    RunMaterialised(kernels, args, pool);
  }
}

}  // namespace precis::kernels
