#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_EPILOGUE_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_EPILOGUE_H_

// Divides by the sums and stores a warp's rows from registers: four threads of a row exchange fragments so that each stores 16 bytes.

#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/attention_sm90/softmax.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

// The compiler must not move reads of a matrix product's registers above the wait for it.
template <int N>
PRECIS_DEVICE void HoldRegisters(float (&values)[N]) {
#ifndef PRECIS_SIMT
  PRECIS_UNROLL
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(values[i])::"memory");
#else
  static_cast<void>(values);
#endif
}

// Transposes a 4 x 4 matrix whose column q lies in thread q of a quad.
PRECIS_DEVICE void TransposeQuad(uint32_t (&r)[4], int lane) {
  const bool odd = lane & 1;
  PRECIS_UNROLL
  for (int i = 0; i < 4; i += 2) {
    const uint32_t got = ShuffleXor(odd ? r[i] : r[i + 1], 1);
    (odd ? r[i] : r[i + 1]) = got;
  }
  const bool high = lane & 2;
  PRECIS_UNROLL
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = ShuffleXor(high ? r[i] : r[i + 2], 2);
    (high ? r[i] : r[i + 2]) = got;
  }
}

// Rows row and row + 8 of a group of `rows` rows that starts at row `first` of the item.
template <int kCount>
PRECIS_DEVICE void StoreOutput(const FlashParams& params, const WorkItem& item, int first, int rows, int row, int lane, const float (&output)[kCount],
                               const float (&inverse)[2]) {
  PRECIS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int64_t target = item.output_row + first + row + 8 * half;
    Bf16* line = params.output + target * params.output_stride + item.head * kHeadDim;
    PRECIS_UNROLL
    for (int part = 0; part < 2; ++part) {
      Vec16 chunk;
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float* pair = &output[16 * part + 4 * i + 2 * half];
        chunk.w[i] = PackBf16(pair[0] * inverse[half], pair[1] * inverse[half]);
      }
      TransposeQuad(chunk.w, lane);
      if (row + 8 * half < rows) Store16(line + 32 * part + 8 * (lane % 4), chunk);
    }
  }
}

// The same rows' logarithms, where they are wanted. position: of the first of the two.
template <class Softmax>
PRECIS_DEVICE void StoreLogSumExp(const FlashParams& params, const WorkItem& item, int first, int row, int lane, const Softmax& softmax, int position) {
  if (params.log_sum_exp == nullptr || lane % 4 != 0) return;
  PRECIS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int in_item = first + row + 8 * half;
    if (in_item >= item.rows) continue;
    params.log_sum_exp[item.head * params.log_sum_exp_stride + item.output_row + in_item] = softmax.LogSumExp(half, position + 8 * half);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_EPILOGUE_H_
