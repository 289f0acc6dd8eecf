// New keys and values into their pages: a copy in pieces of 16 bytes, one block a row.

#include "kernels/cuda/attention/attention_common.h"
#include "kernels/cuda/attention/attention_ops.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/platform.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;

struct WriteKvParams {
  const char* qkv;
  int64_t row_bytes;   // from row to row of qkv
  int64_t part_bytes;  // of q, of k, of v in a row
  const int64_t* slots;
  char* keys;
  char* values;
  int64_t page_stride;
  int pieces;           // of 16 bytes, in a row's keys
  int pieces_per_head;
};

PRECIS_KERNEL(kThreads, 1) WriteKvKernel(const WriteKvParams p) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int row = static_cast<int>(blockIdx.x);
  const int64_t slot = p.slots[row];
  if (slot < 0) return;
  const int64_t page = slot / kTokensPerPage;
  const int token = static_cast<int>(slot % kTokensPerPage);
  const char* source = p.qkv + row * p.row_bytes + p.part_bytes;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * p.pieces; i += kThreads) {
    const bool is_value = i >= p.pieces;
    const int piece = is_value ? i - p.pieces : i;
    const int head = piece / p.pieces_per_head;
    const int within = piece % p.pieces_per_head;
    char* part = (is_value ? p.values : p.keys) + page * p.page_stride;
    const Vec16 data = Load16(source + (is_value ? p.part_bytes : 0) + static_cast<int64_t>(piece) * 16);
    Store16(part + (static_cast<int64_t>(head * kTokensPerPage + token) * p.pieces_per_head + within) * 16, data);
  }
}

}  // namespace

void WriteKv(const GpuWriteKvArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const int size = args.cache.type == GpuType::kF32 ? 4 : 2;
  WriteKvParams p;
  p.qkv = static_cast<const char*>(args.qkv);
  p.row_bytes = args.qkv_stride * size;
  p.part_bytes = static_cast<int64_t>(args.cache.heads) * args.cache.head_dim * size;
  p.slots = args.slots;
  p.keys = args.cache.keys;
  p.values = args.cache.values;
  p.page_stride = args.cache.page_stride;
  p.pieces = static_cast<int>(p.part_bytes / 16);
  p.pieces_per_head = args.cache.head_dim * size / 16;
  LaunchConfig config;
  config.grid.x = args.rows;
  config.block.x = kThreads;
  config.stream = stream;
  config.dependent = true;
  Launch(WriteKvKernel, config, p);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
