#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_

// Online softmax of a 64 x 128 tile of scores, in the registers in which wgmma leaves it: thread t of a warpgroup holds rows 16 (t / 32) + (t % 32) / 4 and
// that + 8, columns 8 g + 2 (t % 4) + {0, 1}: element s[4 g + 2 half + e].
//
// ALiBi. A score becomes q.k + slope' (j - tile begin), slope' = slope / scale. The matrix unit adds the bias: a last step of the product with rows
// (high, middle, low, 0 ..), the slope in three bf16 parts (24 bits, exact products), and columns (n, n, n, 0 ..). So a score costs no instruction more than without ALiBi. A row's maximum is kept relative to the tile and moves back by 128 slope' from tile to tile.
// All terms stay small at any length.

#include "kernels/cuda/attention_sm90/layout.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr float kMinusInfinity = -__builtin_inff();
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr int kScores = kTileKeys / 2;   // scores of a thread
inline constexpr int kOutputs = kHeadDim / 2;   // outputs of a thread

// Probabilities as the second product takes them: its A fragments, 16 keys each.
struct Probabilities {
  uint32_t fragment[kTileKeys / 16][4];
};

PRECIS_DEVICE float Maximum(float a, float b) { return fmaxf(a, b); }

template <class Policy>
class OnlineSoftmax {
 public:
  PRECIS_DEVICE explicit OnlineSoftmax(float scale) : scale_(scale * kLog2E) {}

  // slope: in units of unscaled scores.
  PRECIS_DEVICE void Start(float slope) {
    slope_ = Policy::kAlibi ? slope : 0.0f;
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      maximum_[half] = kMinusInfinity;
      sum_[half] = 0.0f;
    }
  }

  // Turns scores into probabilities relative to the row's maximum so far, and gives the factors by which what was summed before must shrink. Keys from
  // visible[half] on (relative to the tile) don't count where `masked`, which is looked at only if kMasked.
  template <bool kMasked, bool kFirst, int kCount>
  PRECIS_DEVICE void Apply(float (&s)[kCount], bool masked, const int (&visible)[2], float (&shrink)[2]) {
    if (kMasked && masked) Mask(s, visible);
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      float before = maximum_[half];
      if constexpr (Policy::kAlibi && !kFirst) {
        // A tile that begins past the row leaves the row as it was.
        if (!kMasked || visible[half] > 0) before -= slope_ * static_cast<float>(kTileKeys);
      }
      const float now = RowMaximum(s, half, before);
      shrink[half] = kFirst ? 0.0f : Exp2((before - now) * scale_);
      maximum_[half] = now;
      sum_[half] = Fma(sum_[half], shrink[half], Exponentials(s, half, now * scale_));
    }
  }

  // After the last tile: the sums over the four threads of a row.
  PRECIS_DEVICE void Finish() {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      sum_[half] += ShuffleXor(sum_[half], 1);
      sum_[half] += ShuffleXor(sum_[half], 2);
    }
  }
  PRECIS_DEVICE float sum(int half) const { return sum_[half]; }
  // Natural logarithm of the sum of exponentials of a row at this position.
  PRECIS_DEVICE float LogSumExp(int half, int position) const {
    constexpr float kLog2 = 0.6931471805599453f;
    const float into_tile = static_cast<float>(position % kTileKeys);
    return (Fma(-slope_, into_tile, maximum_[half]) * scale_ + Log2(sum_[half])) * kLog2;
  }

 private:
  PRECIS_DEVICE static int Column() { return 2 * (static_cast<int>(threadIdx.x) % 4); }

  template <int kCount>
  PRECIS_DEVICE void Mask(float (&s)[kCount], const int (&visible)[2]) const {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int limit = visible[half] - Column();
      PRECIS_UNROLL
      for (int g = 0; g < kCount / 4; ++g) {
        PRECIS_UNROLL
        for (int e = 0; e < 2; ++e) {
          float& value = s[4 * g + 2 * half + e];
          value = 8 * g + e < limit ? value : kMinusInfinity;
        }
      }
    }
  }

  template <int kCount>
  PRECIS_DEVICE float RowMaximum(const float (&s)[kCount], int half, float before) const {
    float even = s[2 * half];
    float odd = s[2 * half + 1];
    PRECIS_UNROLL
    for (int g = 1; g < kCount / 4; ++g) {
      even = Maximum(even, s[4 * g + 2 * half]);
      odd = Maximum(odd, s[4 * g + 2 * half + 1]);
    }
    float most = Maximum(even, odd);
    most = Maximum(most, before);
    most = Maximum(most, ShuffleXor(most, 1));
    return Maximum(most, ShuffleXor(most, 2));
  }

  template <int kCount>
  PRECIS_DEVICE float Exponentials(float (&s)[kCount], int half, float shift) const {
    float even = 0.0f, odd = 0.0f;
    PRECIS_UNROLL
    for (int g = 0; g < kCount / 4; ++g) {
      float& first = s[4 * g + 2 * half];
      float& second = s[4 * g + 2 * half + 1];
      first = Exp2(Fma(first, scale_, -shift));
      second = Exp2(Fma(second, scale_, -shift));
      even += first;
      odd += second;
    }
    return even + odd;
  }

  const float scale_;  // to the logarithm to base 2
  float slope_ = 0.0f;  // in units of unscaled scores
  float maximum_[2];
  float sum_[2];
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_
