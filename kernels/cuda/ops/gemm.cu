#include "kernels/cuda/ops_list.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int64_t kLibraryWorkspace = int64_t{32} << 20;
constexpr int kDecodeRows = 16;  // to which our decode kernel is the fastest

// To 64 rows the decode kernel is ahead of the tiles, but for a head, where blocks of 16 columns read x too often; and its splits must fit shared memory.
bool DecodeTakes(const GemmArgs& args) {
  return (args.m <= kDecodeRows && args.k <= 8192) || (args.m <= 64 && args.n <= 8192 && args.k <= 4096);
}

bool Aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Few rows are bound by reading w: our own kernels start that before their turn, which the library's don't. Of a long k it makes more blocks.
bool LibraryIsFaster(const GemmArgs& args, bool hopper) { return args.m > 64 || (args.m > kDecodeRows && (!hopper || args.k > 2048)); }

void Choose(const GemmArgs& args, bool hopper, Stream stream) {
  if (args.m == 0 || args.n == 0) return;
  if (args.mode == GemmMode::kFast && LibraryIsFaster(args, hopper) && GemmLibrary(args, stream)) return;
  if (!GemmTakes(args)) return GemmSimple(args, stream);
  if (hopper && args.m > kDecodeRows && GemmWgmma(args, stream)) return;
  DecodeTakes(args) ? GemmDecode(args, stream) : GemmTile(args, stream);
}

}  // namespace

bool GemmTakes(const GemmArgs& args) {
  if (args.x_type != GpuType::kBf16 || args.w_type == GpuType::kF32) return false;
  return args.k % (args.w_type == GpuType::kI8 ? 16 : 8) == 0 && args.x_stride % 8 == 0 && Aligned(args.x) && Aligned(args.w);
}

void Gemm(const GemmArgs& args, Stream stream) { Choose(args, false, stream); }
void GemmHopper(const GemmArgs& args, Stream stream) { Choose(args, true, stream); }

int64_t GemmWorkspaceBytes(int /*m*/, int /*n*/, int /*k*/, GemmMode mode) { return mode == GemmMode::kFast ? kLibraryWorkspace : 0; }

}  // namespace precis::kernels::PRECIS_GPU_NS
