// wgmma, warp by warp: a warp's 16 rows of the 64 depend on its own registers (or its rows of A in shared memory) and on B alone. Operands in shared memory
// are read, and accumulators written, at the wait.

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cuda/platform/platform.h"
#include "kernels/simt/block.h"
#include "kernels/simt/race.h"
#include "kernels/simt/simt_ptx.h"

namespace precis::kernels::simt {
namespace {

constexpr int kK = 16;
constexpr int kRows = 16;  // of one warp

// A matrix descriptor (PTX ISA, "Matrix descriptor").
struct Descriptor {
  int64_t start, leading, stride;
  Swizzle swizzle;
};

Descriptor Decode(uint64_t bits) {
  static constexpr Swizzle kCodes[] = {Swizzle::kNone, Swizzle::k128, Swizzle::k64, Swizzle::k32};
  return {static_cast<int64_t>(bits & 0x3fff) << 4, static_cast<int64_t>((bits >> 16) & 0x3fff) << 4, static_cast<int64_t>((bits >> 32) & 0x3fff) << 4,
          kCodes[bits >> 62]};
}

// Byte of element (row, k) of a K-major operand: 8-row groups `stride` apart; within one, rows of the swizzle's span, or 8 x 16-byte core matrices.
int64_t KMajor(const Descriptor& d, int row, int k) {
  const int64_t group = d.start + row / 8 * d.stride;
  switch (d.swizzle) {
    case Swizzle::kNone: return group + k / 8 * d.leading + row % 8 * 16 + k % 8 * 2;
    case Swizzle::k32: return SwizzleOffset(group + row % 8 * 32 + k * 2, d.swizzle);
    case Swizzle::k64: return SwizzleOffset(group + row % 8 * 64 + k * 2, d.swizzle);
    case Swizzle::k128: break;
  }
  return SwizzleOffset(group + row % 8 * 128 + k * 2, d.swizzle);
}

// Byte of element (k, n) of an N-major B with 128-byte swizzle: rows k of 64 elements; 8-row groups `stride` apart, runs of 64 columns `leading` apart.
int64_t NMajor(const Descriptor& d, int n, int k) {
  return SwizzleOffset(d.start + n / 64 * d.leading + k / 8 * d.stride + k % 8 * 128 + n % 64 * 2, d.swizzle);
}

float ReadShared(int64_t offset, Site site) {
  const Context& c = Current();
  CheckShared(c.shared + offset, 2, "an operand of wgmma", site);
  Bf16 value;
  std::memcpy(&value, c.owner->arena().async_view() + offset, 2);
  return ToFloat(value);
}

struct WaitOperand {
  Fiber* fiber;
  int pending;
};

bool Same(const WgmmaOp& a, const WgmmaOp& b) {
  return a.n == b.n && a.transpose_b == b.transpose_b && a.a_in_registers == b.a_in_registers && a.descriptor_a == b.descriptor_a &&
         a.descriptor_b == b.descriptor_b && a.accumulate == b.accumulate;
}

void LoadA(const WgmmaOp* const (&ops)[32], int warp, float (&a)[kRows][kK], Site site) {
  if (!ops[0]->a_in_registers) {
    const Descriptor d = Decode(ops[0]->descriptor_a);
    for (int row = 0; row < kRows; ++row) {
      for (int k = 0; k < kK; ++k) a[row][k] = ReadShared(KMajor(d, warp % 4 * kRows + row, k), site);
    }
    return;
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) UnpackBf16(ops[lane]->a[i], a[g + i % 2 * 8][t + i / 2 * 8], a[g + i % 2 * 8][t + i / 2 * 8 + 1]);
  }
}

void RunOp(const WgmmaOp* const (&ops)[32], Fiber* const (&fibers)[32], int warp, Site site) {
  const WgmmaOp& op = *ops[0];
  float a[kRows][kK];
  LoadA(ops, warp, a, site);
  const Descriptor d = Decode(op.descriptor_b);
  if (op.transpose_b && d.swizzle != Swizzle::k128) Fail("the emulator knows N-major operands with 128-byte swizzle only", site);
  std::vector<float> b(static_cast<size_t>(op.n) * kK);
  for (int n = 0; n < op.n; ++n) {
    for (int k = 0; k < kK; ++k) b[static_cast<size_t>(n) * kK + k] = ReadShared(op.transpose_b ? NMajor(d, n, k) : KMajor(d, n, k), site);
  }
  for (int lane = 0; lane < 32; ++lane) {
    std::vector<float>& values = fibers[lane]->wgmma.shadows[ops[lane]->d].values;
    for (int i = 0; i < op.n / 2; ++i) {
      const int row = lane / 4 + i % 4 / 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      double sum = op.accumulate ? values[i] : 0.0f;  // as in RunMmaBf16
      for (int k = 0; k < kK; ++k) sum += double{a[row][k]} * b[static_cast<size_t>(column) * kK + k];
      values[i] = static_cast<float>(sum);
    }
  }
}

void Settle(Fiber* fiber, float* d) {
  auto shadow = fiber->wgmma.shadows.find(d);
  if (--shadow->second.pending > 0) return;
  std::copy(shadow->second.values.begin(), shadow->second.values.end(), d);
  fiber->wgmma.shadows.erase(shadow);
}

// The oldest group of all lanes.
void RunGroup(Fiber* const (&fibers)[32], int warp, Site site) {
  const size_t count = fibers[0]->wgmma.groups.front().size();
  for (size_t i = 0; i < count; ++i) {
    const WgmmaOp* ops[32];
    for (int lane = 0; lane < 32; ++lane) {
      ops[lane] = &fibers[lane]->wgmma.groups.front()[i];
      if (!Same(*ops[lane], *ops[0])) Fail("lanes of a warp issued different products", site);
    }
    RunOp(ops, fibers, warp, site);
    for (int lane = 0; lane < 32; ++lane) Settle(fibers[lane], ops[lane]->d);
  }
  for (Fiber* fiber : fibers) fiber->wgmma.groups.pop_front();
}

void RunWait(WarpExchange& x) {
  Fiber* fibers[32];
  WaitOperand operand;
  for (int lane = 0; lane < 32; ++lane) {
    std::memcpy(&operand, x.in[lane], sizeof(operand));
    fibers[lane] = operand.fiber;
  }
  const Site site = Site::current();
  const size_t groups = fibers[0]->wgmma.groups.size();
  for (Fiber* fiber : fibers) {
    if (fiber->wgmma.groups.size() != groups) Fail("lanes of a warp have different numbers of product groups", site);
  }
  const Context& c = fibers[0]->context;
  const int warp = static_cast<int>((c.thread.x + c.block_size.x * (c.thread.y + c.block_size.y * c.thread.z)) / 32);
  for (size_t left = groups; left > static_cast<size_t>(operand.pending); --left) RunGroup(fibers, warp, site);
}

}  // namespace

uint64_t SharedDescriptor(const void* shared, int leading_bytes, int stride_bytes, Swizzle swizzle, Site site) {
  CheckShared(shared, 16, "a matrix descriptor", site);
  const uint64_t code = swizzle == Swizzle::k128 ? 1 : swizzle == Swizzle::k64 ? 2 : swizzle == Swizzle::k32 ? 3 : 0;
  const uint64_t start = static_cast<uint64_t>(static_cast<const char*>(shared) - Current().shared);
  return (start >> 4 & 0x3fff) | static_cast<uint64_t>(leading_bytes >> 4 & 0x3fff) << 16 | static_cast<uint64_t>(stride_bytes >> 4 & 0x3fff) << 32 | code << 62;
}

void WgmmaFence() {
  const Unwatched unwatched;
  Current().fiber->wgmma.fenced = true;
}

void WgmmaIssue(float* d, int n, bool transpose_b, const uint32_t* registers_a, uint64_t descriptor_a, uint64_t descriptor_b, bool accumulate, Site site) {
  const Unwatched unwatched;
  WgmmaQueue& queue = Current().fiber->wgmma;
  if (!queue.fenced) Fail("wgmma without a fence after registers were touched", site);
  WgmmaOp op = {d, n, transpose_b, registers_a != nullptr, {}, descriptor_a, descriptor_b, accumulate};
  if (registers_a != nullptr) std::memcpy(op.a, registers_a, sizeof(op.a));
  WgmmaQueue::Shadow& shadow = queue.shadows[d];
  if (shadow.pending++ == 0) {
    shadow.values.assign(d, d + n / 2);
    std::fill(d, d + n / 2, std::numeric_limits<float>::quiet_NaN());
  }
  queue.open.push_back(op);
}

void WgmmaCommit() {
  const Unwatched unwatched;
  WgmmaQueue& queue = Current().fiber->wgmma;
  queue.groups.push_back(std::move(queue.open));
  queue.open.clear();
}

void WgmmaWaitGroups(int pending, Site site) {
  const Unwatched unwatched;
  const WaitOperand operand = {Current().fiber, pending};
  WarpMeet("WgmmaWait", &operand, sizeof(operand), nullptr, 0, RunWait, true, site);
  Current().fiber->wgmma.fenced = false;
}

}  // namespace precis::kernels::simt
