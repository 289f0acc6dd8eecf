#ifndef PRECIS_TESTS_GPU_INSTRUCTIONS_BOXES_H_
#define PRECIS_TESTS_GPU_INSTRUCTIONS_BOXES_H_

#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx_types.h"

namespace precis::gpu_test {

// A box of a tensor of `dims` elements, its corner at `at`: parts of it may lie outside.
struct BoxSpec {
  const char* name;
  int element_bytes, rank;
  int dims[5], box[5], at[5];
  kernels::Swizzle swizzle;
};
constexpr BoxSpec kBoxes[] = {
    {"2d, 16-bit, no swizzle", 2, 2, {64, 16}, {32, 8}, {16, 4}, kernels::Swizzle::kNone},
    {"2d, 16-bit, 32-byte swizzle", 2, 2, {64, 32}, {16, 16}, {8, 10}, kernels::Swizzle::k32},
    {"2d, 16-bit, 64-byte swizzle", 2, 2, {64, 32}, {32, 16}, {32, 3}, kernels::Swizzle::k64},
    {"2d, 16-bit, 128-byte swizzle, past the end", 2, 2, {72, 40}, {64, 32}, {16, 20}, kernels::Swizzle::k128},
    {"2d, 32-bit, 128-byte swizzle", 4, 2, {48, 24}, {32, 16}, {8, 3}, kernels::Swizzle::k128},
    {"2d, 32-bit, 128-byte swizzle, before the start", 4, 2, {48, 24}, {32, 16}, {-4, -3}, kernels::Swizzle::k128},
    {"3d, 16-bit, 128-byte swizzle", 2, 3, {64, 12, 3}, {64, 8, 2}, {0, 8, 1}, kernels::Swizzle::k128},
    {"4d, 16-bit, 128-byte swizzle", 2, 4, {64, 6, 4, 2}, {64, 4, 2, 2}, {0, 1, 3, 0}, kernels::Swizzle::k128},
    {"5d, 16-bit, 128-byte swizzle", 2, 5, {64, 6, 3, 3, 2}, {64, 4, 2, 1, 2}, {0, 3, 1, 2, 0}, kernels::Swizzle::k128},
};

PRECIS_HOST_DEVICE constexpr int WordsOf(const BoxSpec& spec, const int (&extent)[5]) {
  int bytes = spec.element_bytes;
  for (int i = 0; i < spec.rank; ++i) bytes *= extent[i];
  return bytes / 4;
}
// A store may not begin before the tensor.
constexpr bool CanStore(const BoxSpec& spec) {
  bool inside = spec.rank < 5;  // no wrapper for five dimensions
  for (int i = 0; i < spec.rank; ++i) inside = inside && spec.at[i] >= 0;
  return inside;
}
PRECIS_HOST_DEVICE constexpr int BoxWords(const BoxSpec& spec) { return WordsOf(spec, spec.box); }
PRECIS_HOST_DEVICE constexpr int TensorWords(const BoxSpec& spec) { return WordsOf(spec, spec.dims); }

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_INSTRUCTIONS_BOXES_H_
