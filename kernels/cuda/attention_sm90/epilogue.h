#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_EPILOGUE_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_EPILOGUE_H_

// Divides by the sums and stores a warp's rows from registers: four threads of a row exchange fragments so that each stores 16 bytes.

#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/attention_sm90/softmax.h"

#ifdef PRECIS_SM90_CODE
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

// Rows row and row + 8 of a group of `rows` rows that starts at output_row.
template <class Softmax>
PRECIS_DEVICE void StoreOutput(const FlashParams& params, int head, int output_row, int rows, int row, int lane, const float (&output)[kOutputs],
                               const Softmax& softmax, int first_position) {
  PRECIS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const float inverse = 1.0f / softmax.sum(half);
    const bool present = row + 8 * half < rows;
    const int64_t target = output_row + row + 8 * half;
    Bf16* line = params.output + target * params.output_stride + head * kHeadDim;
    PRECIS_UNROLL
    for (int part = 0; part < 2; ++part) {
      Vec16 chunk;
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float* pair = &output[16 * part + 4 * i + 2 * half];
        chunk.w[i] = PackBf16(pair[0] * inverse, pair[1] * inverse);
      }
      TransposeQuad(chunk.w, lane);
      if (present) Store16(line + 32 * part + 8 * (lane % 4), chunk);
    }
    if (params.log_sum_exp != nullptr && present && lane % 4 == 0) {
      params.log_sum_exp[head * params.log_sum_exp_stride + target] = softmax.LogSumExp(half, first_position + 8 * half);
    }
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_EPILOGUE_H_
