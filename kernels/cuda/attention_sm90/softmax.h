#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_

// Online softmax of a 64 x 128 tile of scores, in the registers in which wgmma leaves it: thread t of a warpgroup holds rows 16 (t / 32) + (t % 32) / 4 and
// that + 8, columns 8 g + 2 (t % 4) + {0, 1}: element s[4 g + 2 half + e].
//
// ALiBi. A score becomes q.k + slope' (j - tile begin), slope' = slope / scale: one multiply-add a score with the column as an immediate. The thread's own
// column offset 2 (t % 4) is left out of the score and taken from the maximum instead, so that it costs nothing; a row's maximum is kept relative to the
// tile and moves back by 128 slope' from tile to tile. All terms stay small at any length.

#include "kernels/cuda/attention_sm90/layout.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr float kMinusInfinity = -__builtin_inff();
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr int kScores = kTileKeys / 2;   // scores of a thread
inline constexpr int kOutputs = kHeadDim / 2;   // outputs of a thread

// Probabilities as the second product takes them: its A fragments, 16 keys each.
struct Probabilities {
  uint32_t fragment[kTileKeys / 16][4];
};

struct LearnedPolicy {
  static constexpr bool kAlibi = false;
};
struct AlibiPolicy {
  static constexpr bool kAlibi = true;
};

PRECIS_DEVICE float Maximum(float a, float b) { return fmaxf(a, b); }

// 2^n where n stands in the low bits of `shifted`.
PRECIS_DEVICE float PowerOfTwo(float shifted) {
  return __builtin_bit_cast(float, (__builtin_bit_cast(uint32_t, shifted) << 23) + 0x3F800000u);
}

// 2^x by multiply-adds (Cody and Waite): x = n + f, |f| <= 1/2, a cubic in f with relative error 7.5e-5 (the result is rounded to bf16, 4e-3), n added to the
// exponent. Relieves the special function unit, whose rate equals the matrix unit's at this head size. At least 2^-126, never 0.
PRECIS_DEVICE float Exp2ByPolynomial(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves n in the low bits
  x = x > -126.0f ? x : -126.0f;
  const float shifted = x + kRound;
  const float f = x - (shifted - kRound);
  float p = Fma(f, 0.0551716685f, 0.2426111251f);
  p = Fma(p, f, 0.6932609677f);
  p = Fma(p, f, 0.9999280572f);
  return p * PowerOfTwo(shifted);
}

template <class Policy, class Tuning>
class OnlineSoftmax {
 public:
  PRECIS_DEVICE explicit OnlineSoftmax(float scale) : scale_(scale * kLog2E) {}

  PRECIS_DEVICE void Start(float slope) {
    slope_ = Policy::kAlibi ? slope * kLog2E / scale_ : 0.0f;
    offset_ = slope_ * static_cast<float>(Column());
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
    if constexpr (Policy::kAlibi) AddBias(s);
    if (kMasked && masked) Mask(s, visible);
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      float before = maximum_[half];
      if constexpr (Policy::kAlibi && !kFirst) {
        // A tile that begins past the row leaves the row as it was.
        if (!kMasked || visible[half] > 0) before -= slope_ * static_cast<float>(kTileKeys);
      }
      float now = RowMaximum(s, half, before);
      // A reference up to 2^kSlack below the maximum serves as well, and as long as it stays, nothing has to be scaled. Each row decides for itself.
      if constexpr (Tuning::kSlack > 0 && !kFirst) now = (now - before) * scale_ > static_cast<float>(Tuning::kSlack) ? now : before;
      shrink[half] = kFirst ? 0.0f : Exp2((before - now) * scale_);
      maximum_[half] = now;
      sum_[half] = Fma(sum_[half], shrink[half], Exponentials<kMasked>(s, half, (Policy::kAlibi ? now - offset_ : now) * scale_, masked ? visible[half] : kTileKeys));
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
  PRECIS_DEVICE void AddBias(float (&s)[kCount]) const {
    PRECIS_UNROLL
    for (int i = 0; i < kCount; ++i) s[i] = Fma(slope_, static_cast<float>(8 * (i / 4) + i % 2), s[i]);
  }

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
    if constexpr (Policy::kAlibi) most += offset_;
    most = Maximum(most, before);
    most = Maximum(most, ShuffleXor(most, 1));
    return Maximum(most, ShuffleXor(most, 2));
  }

  // Which of the odd columns take the polynomial: a choice by column alone, so that a row's bits don't depend on where it stands.
  PRECIS_DEVICE static constexpr bool ByPolynomial(int g) { return g % 8 < Tuning::kPolynomialEighths; }

  template <bool kMasked, int kCount>
  PRECIS_DEVICE float Exponentials(float (&s)[kCount], int half, float shift, int visible) const {
    float even = 0.0f, odd = 0.0f;
    PRECIS_UNROLL
    for (int g = 0; g < kCount / 4; ++g) {
      float& first = s[4 * g + 2 * half];
      float& second = s[4 * g + 2 * half + 1];
      first = Exp2(Fma(first, scale_, -shift));
      second = Fma(second, scale_, -shift);
      if (ByPolynomial(g)) {
        second = Exp2ByPolynomial(second);
        if constexpr (kMasked) second = 8 * g + 1 < visible - Column() ? second : 0.0f;
      } else {
        second = Exp2(second);
      }
      even += first;
      odd += second;
    }
    return even + odd;
  }

  const float scale_;  // to the logarithm to base 2
  float slope_ = 0.0f;  // in units of unscaled scores
  float offset_ = 0.0f;  // ALiBi's at the thread's first column
  float maximum_[2];
  float sum_[2];
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_
