#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_

// Online softmax of a 64 x 128 tile of scores, in the registers in which wgmma leaves it: thread t of a warpgroup holds rows 16 (t / 32) + (t % 32) / 4 and
// that + 8, columns 8 g + 2 (t % 4) + {0, 1}: element s[4 g + 2 half + e].
//
// The kernel is bound by the instructions of this file, so that their number is what counts. A row's probabilities are 2^(x - reference). Any reference will
// do that keeps them in the range of a float, so it need not be the running maximum: it is set 32 below the maximum of the row's first tile and moves only if
// a later score lies more than 64 above it. So scores turn into exponents by one multiply-add each, with no maximum to wait for, and a look at the largest
// exponent, by integer comparison of three at a time, says whether a row has to move. Each row moves by its own scores alone, whatever stands beside it.
//
// ALiBi. A score becomes q.k + slope' (j - tile begin), slope' = slope / scale: one multiply-add a score with the column as an immediate. The thread's own
// column offset 2 (t % 4) is left out of the score and taken from the reference instead, so that it costs nothing. The reference is relative to the tile; from
// tile to tile it stays what it is, which means that it rises by 128 slopes, as the largest scores of a row do, and what was summed shrinks by 2^-that. A row
// whose exponents then all lie below the reference takes the rise back. All terms stay small at any length.

#include "kernels/cuda/attention_sm90/layout.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr float kMinusInfinity = -__builtin_inff();
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLog2 = 0.6931471805599453f;
inline constexpr int kScores = kTileKeys / 2;  // scores of a thread
inline constexpr float kBelow = 32.0f;         // how far below a maximum a new reference is set
inline constexpr float kMostAbove = 64.0f;     // how far above it a score may lie

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

PRECIS_DEVICE float Larger(float a, float b) { return fmaxf(a, b); }
PRECIS_DEVICE int BitsOf(float value) { return __builtin_bit_cast(int, value); }
// One instruction on Hopper.
PRECIS_DEVICE int Largest(int a, int b, int c) {
#ifdef PRECIS_SIMT
  return Max(Max(a, b), c);
#else
  return __vimax3_s32(a, b, c);
#endif
}

// 2^n where n stands in the low bits of `shifted`.
PRECIS_DEVICE float PowerOfTwo(float shifted) {
  return __builtin_bit_cast(float, (__builtin_bit_cast(uint32_t, shifted) << 23) + 0x3F800000u);
}

// 2^x by multiply-adds (Cody and Waite): x = n + f, |f| <= 1/2, a cubic in f with relative error 7.5e-5 (the result is rounded to bf16, 4e-3), times 2^n.
// Relieves the special function unit, whose rate equals the matrix unit's at this head size. At least 2^-126, never 0.
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

// Outputs of a thread; where the second product makes the sums too, they stand in 8 more columns.
template <class Tuning>
inline constexpr int kColumns = kHeadDim + (Tuning::kSumByProduct ? 8 : 0);

// By what the outputs so far must be multiplied before the next product adds to them.
struct Shrink {
  float factor[2];
  bool needed;  // by a warp as a whole
};

template <class Policy, class Tuning>
class OnlineSoftmax {
 public:
  PRECIS_DEVICE explicit OnlineSoftmax(float scale) : scale_(scale * kLog2E) {}

  // Of a new block of rows. slope: ALiBi's, of the head.
  PRECIS_DEVICE void Start(float slope) {
    if constexpr (Policy::kAlibi) {
      slope_ = slope * kLog2E / scale_;
      rise_ = slope * kLog2E * static_cast<float>(kTileKeys);
      offset_ = slope * kLog2E * static_cast<float>(Column());
      decay_ = Exp2(-rise_);
    }
    sum_[0] = sum_[1] = 0.0f;
  }

  // Turns scores into probabilities, and gives the factors by which what was summed before must shrink. Keys from
  // visible[half] on (relative to the tile) don't count where `masked`, which is looked at only if kMasked.
  template <bool kMasked, bool kFirst, int kCount>
  PRECIS_DEVICE void Apply(float (&s)[kCount], bool masked, const int (&visible)[2], Shrink& shrink) {
    if constexpr (Policy::kAlibi) AddBias(s);
    if constexpr (kFirst) {
      if (kMasked && masked) Mask(s, visible);
      SetReference(s);
    }
    ToExponents(s);
    if constexpr (kMasked && !kFirst) Mask(s, visible);
    shrink.factor[0] = shrink.factor[1] = Policy::kAlibi && !kFirst ? decay_ : 1.0f;
    shrink.needed = Policy::kAlibi && !kFirst;
    if constexpr (!kFirst) {
      if (OutOfRange(s)) {
        Move(s, 0, shrink.factor[0]);
        Move(s, 1, shrink.factor[1]);
        shrink.needed = true;
      }
    }
    Exponentials<kMasked>(s, visible, masked);
    if constexpr (!Tuning::kSumByProduct) AddUp(s, shrink.factor);
  }

  // A number that is never negative and depends on (nearly) all that Apply made.
  template <int kCount>
  PRECIS_DEVICE int Witness(const float (&p)[kCount]) const {
    if constexpr (!Tuning::kSumByProduct) return BitsOf(sum_[0]) | BitsOf(sum_[1]);
    int bits = 0;
    PRECIS_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if (i / 2 % Tuning::kWitnessStride == 0) bits |= BitsOf(p[i]);
    }
    return bits;
  }

  // After the last tile: the sums over the four threads of a row. Not with kSumByProduct, where the second product makes them.
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
    const float into_tile = static_cast<float>(position % kTileKeys);
    return (Fma(-slope_ * scale_, into_tile, reference_[half]) + Log2(sum_[half])) * kLog2;
  }

 private:
  PRECIS_DEVICE static int Column() { return 2 * (static_cast<int>(threadIdx.x) % 4); }

  template <int kCount>
  PRECIS_DEVICE void AddBias(float (&s)[kCount]) const {
    PRECIS_UNROLL
    for (int i = 0; i < kCount; ++i) s[i] = Fma(slope_, static_cast<float>(8 * (i / 4) + i % 2), s[i]);
  }

  template <int kCount>
  PRECIS_DEVICE static void Mask(float (&s)[kCount], const int (&visible)[2]) {
    PRECIS_UNROLL
    for (int i = 0; i < kCount; ++i) s[i] = 8 * (i / 4) + i % 2 < visible[i / 2 % 2] - Column() ? s[i] : kMinusInfinity;
  }

  template <int kCount>
  PRECIS_DEVICE static float RowMaximum(const float (&s)[kCount], int half) {
    float even = s[2 * half];
    float odd = s[2 * half + 1];
    PRECIS_UNROLL
    for (int g = 1; g < kCount / 4; ++g) {
      even = Larger(even, s[4 * g + 2 * half]);
      odd = Larger(odd, s[4 * g + 2 * half + 1]);
    }
    return Larger(even, odd);
  }
  PRECIS_DEVICE static float QuadMaximum(float value) {
    value = Larger(value, ShuffleXor(value, 1));
    return Larger(value, ShuffleXor(value, 2));
  }

  template <int kCount>
  PRECIS_DEVICE void SetReference(const float (&s)[kCount]) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      reference_[half] = QuadMaximum(Fma(RowMaximum(s, half), scale_, Policy::kAlibi ? offset_ : 0.0f)) - kBelow;
    }
  }

  template <int kCount>
  PRECIS_DEVICE void ToExponents(float (&s)[kCount]) const {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const float minus = (Policy::kAlibi ? offset_ : 0.0f) - reference_[half];
      PRECIS_UNROLL
      for (int g = 0; g < kCount / 4; ++g) {
        s[4 * g + 2 * half] = Fma(s[4 * g + 2 * half], scale_, minus);
        s[4 * g + 2 * half + 1] = Fma(s[4 * g + 2 * half + 1], scale_, minus);
      }
    }
  }

  // As integers, positive floats are ordered as floats, and negative ones are negative.
  template <int kCount>
  PRECIS_DEVICE static int LargestBits(const float (&x)[kCount], int half) {
    int a = BitsOf(x[2 * half]), b = BitsOf(x[2 * half + 1]);
    PRECIS_UNROLL
    for (int g = 1; g + 1 < kCount / 4; g += 2) {
      a = Largest(a, BitsOf(x[4 * g + 2 * half]), BitsOf(x[4 * g + 2 * half + 1]));
      b = Largest(b, BitsOf(x[4 * g + 4 + 2 * half]), BitsOf(x[4 * g + 5 + 2 * half]));
    }
    constexpr int kLast = kCount / 4 - 1;  // odd
    a = Largest(a, BitsOf(x[4 * kLast + 2 * half]), BitsOf(x[4 * kLast + 2 * half + 1]));
    return Max(a, b);
  }

  // Whether any row of the warp has to move.
  template <int kCount>
  PRECIS_DEVICE static bool OutOfRange(const float (&x)[kCount]) {
    const int first = LargestBits(x, 0), second = LargestBits(x, 1);
    const bool above = Ballot(Max(first, second) > BitsOf(kMostAbove)) != 0;
    if constexpr (!Policy::kAlibi) return above;
    return above || !EachQuad(Ballot(first > 0)) || !EachQuad(Ballot(second > 0));
  }
  // Whether each four lanes have a bit set.
  PRECIS_DEVICE static bool EachQuad(unsigned bits) {
    bits |= bits >> 1;
    bits |= bits >> 2;
    return (bits & 0x11111111u) == 0x11111111u;
  }

  // Moves a row's reference if it has to.
  template <int kCount>
  PRECIS_DEVICE void Move(float (&x)[kCount], int half, float& shrink) {
    const float most = QuadMaximum(RowMaximum(x, half));
    float delta = 0.0f;
    if (most > kMostAbove) {
      delta = most - kBelow;
      shrink = Exp2(-(rise_ + delta));
    } else if (most == kMinusInfinity) {
      shrink = 1.0f;  // the tile begins past the row, which stays as it was
    } else if (Policy::kAlibi && most <= 0.0f) {
      const bool back = most + rise_ <= kMostAbove;
      delta = back ? -rise_ : most - kBelow;
      shrink = back ? 1.0f : Exp2(-(rise_ + delta));
    }
    reference_[half] += delta;
    PRECIS_UNROLL
    for (int g = 0; g < kCount / 4; ++g) {
      x[4 * g + 2 * half] -= delta;
      x[4 * g + 2 * half + 1] -= delta;
    }
  }

  // Which of the odd columns take the polynomial: a choice by column alone, so that a row's bits don't depend on where it stands.
  PRECIS_DEVICE static constexpr bool ByPolynomial(int i) { return i % 2 == 1 && i / 4 % 8 < Tuning::kPolynomialEighths; }

  template <bool kMasked, int kCount>
  PRECIS_DEVICE static void Exponentials(float (&x)[kCount], const int (&visible)[2], bool masked) {
    PRECIS_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if (!ByPolynomial(i)) {
        x[i] = Exp2(x[i]);
        continue;
      }
      x[i] = Exp2ByPolynomial(x[i]);
      if (kMasked && masked) x[i] = 8 * (i / 4) + i % 2 < visible[i / 2 % 2] - Column() ? x[i] : 0.0f;
    }
  }

  template <int kCount>
  PRECIS_DEVICE void AddUp(const float (&p)[kCount], const float (&shrink)[2]) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      float even = p[2 * half], odd = p[2 * half + 1];
      PRECIS_UNROLL
      for (int g = 1; g < kCount / 4; ++g) {
        even += p[4 * g + 2 * half];
        odd += p[4 * g + 2 * half + 1];
      }
      sum_[half] = Fma(sum_[half], shrink[half], even + odd);
    }
  }

  const float scale_;   // to the logarithm to base 2
  float slope_ = 0.0f;  // in units of unscaled scores; the other terms are logarithms to base 2
  float rise_ = 0.0f;
  float offset_ = 0.0f;
  float decay_ = 1.0f;
  float reference_[2];
  float sum_[2];
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_SOFTMAX_H_
