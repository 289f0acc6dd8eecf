#ifndef PRECIS_KERNELS_SIMT_CONTEXT_H_
#define PRECIS_KERNELS_SIMT_CONTEXT_H_

// The running CUDA thread, as kernel code sees it, and what it may ask of the emulator. One host thread runs one grid at a time.

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

#include "kernels/cuda/platform/ptx_types.h"

namespace precis::kernels::simt {

using Site = std::source_location;

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

class Block;
struct Fiber;

struct Context {
  Index3 thread, block, block_size, grid;
  char* shared = nullptr;
  int shared_bytes = 0;
  int lane = 0;
  Block* owner = nullptr;
  Fiber* fiber = nullptr;
};

// Valid while a kernel runs.
Context& Current();

// Ends the grid with a report: message, place in the source, block and thread. Does not return.
[[noreturn]] void Fail(std::string message, Site site);

// Waits until `threads` of the block have come to barrier `id` (or only counts this one in).
void BarrierSync(int id, int threads, Site site);
void BarrierArrive(int id, int threads, Site site);

// All 32 lanes meet; the last one calls `run` with everybody's operands. `kind` must be the same for all. `orders`: memory too, as
// SyncWarp does.
inline constexpr int kWarpOperandBytes = 64;
struct WarpExchange {
  alignas(16) char in[32][kWarpOperandBytes];
  alignas(16) char out[32][kWarpOperandBytes];
};
void WarpMeet(const char* kind, const void* in, size_t in_bytes, void* out, size_t out_bytes, void (*run)(WarpExchange&), bool orders,
              Site site);

// p .. p + bytes must lie in the block's shared memory.
void CheckShared(const void* p, size_t bytes, const char* what, Site site);

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_CONTEXT_H_
