// Warp collectives and copies to shared memory by ordinary threads.

#include <cstring>

#include "kernels/cuda/platform/platform.h"
#include "kernels/simt/block.h"
#include "kernels/simt/race.h"
#include "kernels/simt/simt_ptx.h"

namespace precis::kernels::simt {
namespace {

template <class T>
T Get(const char* from, int index = 0) {
  T value;
  std::memcpy(static_cast<void*>(&value), from + index * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void Put(char* to, T value, int index = 0) { std::memcpy(to + index * sizeof(T), &value, sizeof(T)); }

struct ShuffleOperand {
  uint32_t bits;
  int32_t source;
};

void RunShuffle(WarpExchange& x) {
  for (int lane = 0; lane < 32; ++lane) {
    const int source = Get<ShuffleOperand>(x.in[lane]).source & 31;
    Put(x.out[lane], Get<ShuffleOperand>(x.in[source]).bits);
  }
}

void RunBallot(WarpExchange& x) {
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; ++lane) votes |= static_cast<uint32_t>(x.in[lane][0] != 0) << lane;
  for (auto& out : x.out) Put(out, votes);
}

// Matrix m of kMatrices has its eight rows at the addresses of lanes 8m .. 8m + 7.
template <int kMatrices, bool kTransposed>
void RunLdMatrix(WarpExchange& x) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < kMatrices; ++m) {
      uint32_t pair = 0;
      for (int i = 0; i < 2; ++i) {
        int row = lane / 4, column = lane % 4 * 2 + i;
        if (kTransposed) std::swap(row, column);
        pair |= static_cast<uint32_t>(Get<uint16_t>(Get<const char*>(x.in[8 * m + row]), column)) << (16 * i);
      }
      Put(x.out[lane], pair, m);
    }
  }
}

template <int kMatrices, bool kTransposed>
void LdMatrix(const char* kind, uint32_t* r, const void* row, Site site) {
  if (Current().lane < 8 * kMatrices) {
    CheckShared(row, 16, "a matrix row", site);
    CheckAligned(row, site);
  }
  WarpMeet(kind, static_cast<const void*>(&row), sizeof(row), r, kMatrices * sizeof(uint32_t), RunLdMatrix<kMatrices, kTransposed>, false, site);
}

// Operands of one lane of a product: a[4], b[2], d[4].
void RunMmaBf16(WarpExchange& x) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) UnpackBf16(Get<uint32_t>(x.in[lane], i), a[g + i % 2 * 8][t + i / 2 * 8], a[g + i % 2 * 8][t + i / 2 * 8 + 1]);
    for (int i = 0; i < 2; ++i) UnpackBf16(Get<uint32_t>(x.in[lane], 4 + i), b[t + i * 8][g], b[t + i * 8 + 1][g]);
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = Get<float>(x.in[lane], 6 + i);  // rounded once, as on a GPU: no order of the terms
      for (int k = 0; k < 16; ++k) sum += double{a[row][k]} * b[k][column];
      Put(x.out[lane], static_cast<float>(sum), i);
    }
  }
}

void RunMmaS8(WarpExchange& x) {
  int8_t a[16][32], b[32][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4 * 4;
    for (int byte = 0; byte < 4; ++byte) {
      for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 16 + byte] = Get<int8_t>(x.in[lane], 4 * i + byte);
      for (int i = 0; i < 2; ++i) b[t + i * 16 + byte][g] = Get<int8_t>(x.in[lane], 16 + 4 * i + byte);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      int32_t sum = Get<int32_t>(x.in[lane], 6 + i);
      for (int k = 0; k < 32; ++k) sum += a[row][k] * b[k][column];
      Put(x.out[lane], sum, i);
    }
  }
}

template <class T>
void Multiply(const char* kind, T (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], void (*run)(WarpExchange&), Site site) {
  char operands[40];
  std::memcpy(operands, a, 16);
  std::memcpy(operands + 16, b, 8);
  std::memcpy(operands + 24, d, 16);
  WarpMeet(kind, operands, sizeof(operands), d, sizeof(d), run, false, site);
}

}  // namespace

void CheckShared(const void* p, size_t bytes, const char* what, Site site) {
  const Context& c = Current();
  const char* address = static_cast<const char*>(p);
  if (address >= c.shared && address + bytes <= c.shared + c.shared_bytes) return;
  Fail(std::string(what) + " outside the block's shared memory", site);
}

void CheckAligned(const void* p, Site site) {
  if (reinterpret_cast<uintptr_t>(p) % 16 != 0) Fail("a 16-byte access at an address that is not a multiple of 16", site);
}

void SyncWarp(Site site) { WarpMeet("SyncWarp", nullptr, 0, nullptr, 0, nullptr, true, site); }

uint32_t ShuffleBits(const char* kind, uint32_t bits, int source_lane, Site site) {
  const ShuffleOperand operand = {bits, source_lane & 31};
  uint32_t result;
  WarpMeet(kind, &operand, sizeof(operand), &result, sizeof(result), RunShuffle, false, site);
  return result;
}

unsigned Ballot(bool b, Site site) {
  uint32_t votes;
  WarpMeet("Ballot", &b, sizeof(b), &votes, sizeof(votes), RunBallot, false, site);
  return votes;
}

bool ElectOne(Site site) {
  WarpMeet("ElectOne", nullptr, 0, nullptr, 0, nullptr, false, site);
  return Current().lane == 0;
}

void LdMatrixX4(uint32_t (&r)[4], const void* row, Site site) { LdMatrix<4, false>("LdMatrixX4", r, row, site); }
void LdMatrixX4Trans(uint32_t (&r)[4], const void* row, Site site) { LdMatrix<4, true>("LdMatrixX4Trans", r, row, site); }
void LdMatrixX2(uint32_t (&r)[2], const void* row, Site site) { LdMatrix<2, false>("LdMatrixX2", r, row, site); }
void LdMatrixX2Trans(uint32_t (&r)[2], const void* row, Site site) { LdMatrix<2, true>("LdMatrixX2Trans", r, row, site); }

void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) { Multiply("MmaBf16", d, a, b, RunMmaBf16, site); }
void MmaS8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) { Multiply("MmaS8", d, a, b, RunMmaS8, site); }

// The target holds NaN until the copy is waited for; the source is read then, too.
void CpAsync16(void* shared, const void* global, bool valid, Site site) {
  CheckShared(shared, 16, "cp.async", site);
  CheckAligned(shared, site);
  CheckAligned(global, site);
  std::memset(shared, 0xff, 16);
  const Unwatched unwatched;
  Current().fiber->open_copies.push_back({shared, global, valid, site});
}

void CpAsyncCommit() {
  const Unwatched unwatched;
  Fiber& fiber = *Current().fiber;
  fiber.copy_groups.push_back(std::move(fiber.open_copies));
  fiber.open_copies.clear();
}

namespace {
void Land(const PendingCopy& copy) {
  if (!Current().owner->arena().Poisoned(static_cast<const char*>(copy.to), 16)) Current().owner->Touched("cp.async", copy.site);
  if (copy.valid) {
    std::memcpy(copy.to, copy.from, 16);
  } else {
    std::memset(copy.to, 0, 16);
  }
}
}  // namespace

void CpAsyncWaitGroups(int pending) {
  auto& groups = Current().fiber->copy_groups;
  while (groups.size() > static_cast<size_t>(pending)) {
    for (const PendingCopy& copy : groups.front()) Land(copy);
    groups.pop_front();
  }
}

}  // namespace precis::kernels::simt
