#ifndef PRECIS_KERNELS_CPU_GEMM_DOT_WEIGHTS_H_
#define PRECIS_KERNELS_CPU_GEMM_DOT_WEIGHTS_H_

// Weights for instruction sets with dot products of bf16 and of bytes: activations are rounded to the weights' type. Included by isa_*.cc after
// gemm_weights.h.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int kQuantGroup = 64;  // int8 activations share a scale over this many inputs of a row

PRECIS_INLINE uint32_t RoundToBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

// [depth / 2][width][2]; activations [depth / 2][rows][2].
struct Bf16DotWeights {
  using Wide = Bf16DotWeights;
  static constexpr int kUnit = 2;
  static constexpr int kGroupRows = kMaxRows;
  static constexpr int kDepthMultiple = 2;
  static constexpr int64_t kBlockDepth = 512;
  static constexpr int64_t kElementBytes = 2;
  static int64_t RowBytes(int64_t depth) { return depth * 2; }

  static void Pack(const float* x, int64_t stride, int rows, int64_t in, int64_t depth, char* out) {
    uint16_t* pairs = reinterpret_cast<uint16_t*>(out);
    for (int r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < depth; ++k) {
        pairs[(k / 2 * rows + r) * 2 + k % 2] = static_cast<uint16_t>(RoundToBf16(k < in ? x[r * stride + k] : 0.0f));
      }
    }
  }

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    const uint16_t* x = reinterpret_cast<const uint16_t*>(activations) + begin * R;
    const uint16_t* w = reinterpret_cast<const uint16_t*>(panels) + begin * kPanelWidth;
    const int64_t panel = panel_bytes / 2;
    for (int64_t k = begin; k < end; k += 2, x += 2 * R, w += 2 * kPanelWidth) {
      PRECIS_UNROLL for (int p = 0; p < P; ++p) {
        __builtin_prefetch(w + p * panel + kPrefetchBytes / 2);
        __builtin_prefetch(w + p * panel + kPrefetchBytes / 2 + 32);
        const I w0 = LoadInts(w + p * panel), w1 = LoadInts(w + p * panel + 2 * kWidth);
        PRECIS_UNROLL for (int r = 0; r < R; ++r) {
          int32_t pair;
          std::memcpy(&pair, x + 2 * r, 4);
          const I a = SetInt(pair);
          acc[r][p][0] = Bf16Dot(acc[r][p][0], w0, a);
          acc[r][p][1] = Bf16Dot(acc[r][p][1], w1, a);
        }
      }
    }
  }
};

// [depth / 4][width][4], stored plus 128 as unsigned bytes. Activations are rounded to int8 with one scale for each kQuantGroup inputs of a row;
// the products of a group are summed exactly in int32 (less 128 times the sum of the activations), the groups in order in float.
// Packed group of rows: bytes [depth / 4][rows][4], then scales [depth / kQuantGroup][rows], then offsets (int32) likewise.
struct Int8DotWeights {
  using Wide = Int8DotWeights;
  static constexpr int kUnit = 4;
  static constexpr int kGroupRows = kMaxRows;
  static constexpr int kDepthMultiple = kQuantGroup;
  static constexpr int64_t kBlockDepth = 1024;
  static constexpr int64_t kElementBytes = 1;
  static int64_t RowBytes(int64_t depth) { return depth + depth / kQuantGroup * 8; }

  static void Pack(const float* x, int64_t stride, int rows, int64_t in, int64_t depth, char* out) {
    int8_t* bytes = reinterpret_cast<int8_t*>(out);
    float* scales = reinterpret_cast<float*>(out + depth * rows);
    int32_t* offsets = reinterpret_cast<int32_t*>(scales + depth / kQuantGroup * rows);
    for (int r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < depth / kQuantGroup; ++g) {
        const int64_t begin = g * kQuantGroup;
        PackGroup(x + r * stride + begin, in - begin, bytes + begin * rows + 4 * r, rows, &scales[g * rows + r],
                  &offsets[g * rows + r]);
      }
    }
  }

  static void PackGroup(const float* x, int64_t left, int8_t* bytes, int rows, float* scale, int32_t* offset) {
    alignas(64) float values[kQuantGroup];
    const int count = left < kQuantGroup ? static_cast<int>(left) : kQuantGroup;
    F largest = Zero();
    for (int i = 0; i < kQuantGroup; i += kWidth) {
      const F v = i + kWidth <= count ? Load(x + i) : i < count ? LoadPartial(x + i, count - i) : Zero();
      Store(values + i, v);
      largest = Max(largest, Abs(v));
    }
    const float magnitude = ReduceMax(largest);
    *scale = magnitude / 127.0f;
    const float inverse = magnitude > 0 ? 127.0f / magnitude : 0.0f;
    int32_t sum = 0;
    alignas(64) float rounded[kQuantGroup];
    for (int i = 0; i < kQuantGroup; i += kWidth) {
      // A NaN or an infinite input gives a NaN scale and so a NaN row; the bytes just have to be in range.
      const F v = Round(Mul(Load(values + i), Set(inverse)));
      Store(rounded + i, Max(Min(v, Set(127.0f)), Set(-127.0f)));
    }
    for (int i = 0; i < kQuantGroup; ++i) {
      const int32_t q = static_cast<int32_t>(rounded[i]);
      sum += q;
      bytes[i / 4 * 4 * rows + i % 4] = static_cast<int8_t>(q);
    }
    *offset = -128 * sum;
  }

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    const float* scales = reinterpret_cast<const float*>(activations + depth * R);
    const int32_t* offsets = reinterpret_cast<const int32_t*>(scales + depth / kQuantGroup * R);
    const int8_t* x = reinterpret_cast<const int8_t*>(activations) + begin * R;
    const int8_t* w = reinterpret_cast<const int8_t*>(panels) + begin * kPanelWidth;
    for (int64_t g = begin / kQuantGroup; g < end / kQuantGroup; ++g) {
      I dot[R][P][2];
      PRECIS_UNROLL for (int r = 0; r < R; ++r) {
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          dot[r][p][0] = dot[r][p][1] = SetInt(offsets[g * R + r]);
        }
      }
      for (int k = 0; k < kQuantGroup; k += 4, x += 4 * R, w += 4 * kPanelWidth) {
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          __builtin_prefetch(w + p * panel_bytes + kPrefetchBytes);
          PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
            const I weights = LoadInts(w + p * panel_bytes + half * 4 * kWidth);
            PRECIS_UNROLL for (int r = 0; r < R; ++r) {
              int32_t quad;
              std::memcpy(&quad, x + 4 * r, 4);
              dot[r][p][half] = Int8Dot(dot[r][p][half], weights, SetInt(quad));
            }
          }
        }
      }
      PRECIS_UNROLL for (int r = 0; r < R; ++r) {
        const F scale = Set(scales[g * R + r]);
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          acc[r][p][0] = Fma(ToFloat(dot[r][p][0]), scale, acc[r][p][0]);
          acc[r][p][1] = Fma(ToFloat(dot[r][p][1]), scale, acc[r][p][1]);
        }
      }
    }
  }
};

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_GEMM_DOT_WEIGHTS_H_
