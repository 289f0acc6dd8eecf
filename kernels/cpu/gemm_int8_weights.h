#ifndef PRECIS_KERNELS_CPU_GEMM_INT8_WEIGHTS_H_
#define PRECIS_KERNELS_CPU_GEMM_INT8_WEIGHTS_H_

// int8 weights for instruction sets without a dot product of bytes: activations are rounded to int16 with one scale for each kQuantGroup inputs of a row
// (1/65534 of the group's largest: nothing beside the weights' own rounding), products are summed exactly in int32, groups in order in float.
// vpmaddwd takes pairs of 16-bit numbers, so there is none of vpmaddubsw's saturation. Included by isa_*.cc after gemm_weights.h.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int64_t kQuantGroup = 128;  // 128 * 128 * 32767 < 2^31

// Packed group of rows: int16 [depth / 2][rows][2], then scales [groups][rows].
struct Int16Activations {
  static constexpr int kDepthMultiple = 2;
  static constexpr int kGroupRows = 4;  // products need a register of their own before they are added: more rows spill
  static int64_t Groups(int64_t depth) { return (depth + kQuantGroup - 1) / kQuantGroup; }
  static int64_t RowBytes(int64_t depth) { return depth * 2 + Groups(depth) * 4; }

  static void Pack(const float* x, int64_t stride, int rows, int64_t in, int64_t depth, char* out) {
    int16_t* pairs = reinterpret_cast<int16_t*>(out);
    float* scales = reinterpret_cast<float*>(out + depth * 2 * rows);
    for (int r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < depth; k += kQuantGroup) {
        const int64_t end = k + kQuantGroup < depth ? k + kQuantGroup : depth;
        scales[k / kQuantGroup * rows + r] = PackGroup(x + r * stride, k, end, in, rows, pairs + 2 * r);
      }
    }
  }

  // Returns the scale. An infinite or NaN input makes it so, and with it the whole row.
  static float PackGroup(const float* x, int64_t begin, int64_t end, int64_t in, int rows, int16_t* pairs) {
    alignas(64) float values[kQuantGroup];
    F largest = Zero();
    for (int64_t k = begin; k < end; k += kWidth) {
      const int64_t left = in - k;
      const F v = left >= kWidth ? Load(x + k) : LoadPartial(x + k, left > 0 ? static_cast<int>(left) : 0);
      Store(values + (k - begin), v);
      largest = Max(largest, Abs(v));
    }
    const float magnitude = ReduceMax(largest);
    const F inverse = Set(magnitude > 0 ? 32767.0f / magnitude : 0.0f);
    for (int64_t i = 0; i < end - begin; i += kWidth) {
      const F v = Round(Mul(Load(values + i), inverse));
      Store(values + i, Max(Min(v, Set(32767.0f)), Set(-32767.0f)));
    }
    for (int64_t k = begin; k < end; ++k) {
      pairs[k / 2 * 2 * rows + k % 2] = static_cast<int16_t>(static_cast<int32_t>(values[k - begin]));
    }
    return magnitude / 32767.0f;
  }

  template <int R, int P, class LoadWeights>
  PRECIS_INLINE static void AccumulateGroups(const char* activations, int64_t depth, int64_t begin, int64_t end,
                                             F (&acc)[R][P][2], LoadWeights load) {
    const int16_t* x = reinterpret_cast<const int16_t*>(activations) + begin * R;
    const float* scales = reinterpret_cast<const float*>(activations + depth * 2 * R) + begin / kQuantGroup * R;
    for (int64_t k = begin; k < end; scales += R) {
      const int64_t stop = k + kQuantGroup < end ? k + kQuantGroup : end;
      I dot[R][P][2];
      PRECIS_UNROLL for (int r = 0; r < R; ++r) {
        PRECIS_UNROLL for (int p = 0; p < P; ++p) dot[r][p][0] = dot[r][p][1] = SetInt(0);
      }
      for (; k < stop; k += 2, x += 2 * R) {
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          I w[2];
          load(k, p, w);
          PRECIS_UNROLL for (int r = 0; r < R; ++r) {
            int32_t pair;
            std::memcpy(&pair, x + 2 * r, 4);
            const I a = SetInt(pair);
            dot[r][p][0] = PairDot(dot[r][p][0], w[0], a);
            dot[r][p][1] = PairDot(dot[r][p][1], w[1], a);
          }
        }
      }
      PRECIS_UNROLL for (int r = 0; r < R; ++r) {
        const F scale = Set(scales[r]);
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          acc[r][p][0] = Fma(ToFloat(dot[r][p][0]), scale, acc[r][p][0]);
          acc[r][p][1] = Fma(ToFloat(dot[r][p][1]), scale, acc[r][p][1]);
        }
      }
    }
  }
};

// Weights widened to int16, [depth / 2][width][2].
struct Int16Weights : Int16Activations {
  static constexpr int64_t kElementBytes = 2;

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    AccumulateGroups<R, P>(activations, depth, begin, end, acc, [=](int64_t k, int p, I(&w)[2]) {
      const char* from = panels + p * panel_bytes + k * kPanelWidth * 2;
      w[0] = LoadInts(from);
      w[1] = LoadInts(from + kPanelWidth * 2);
    });
  }
};

// [depth / 2][width][2].
struct Int8Weights : Int16Activations {
  static constexpr int kUnit = 2;
  static constexpr int64_t kBlockDepth = 4 * kQuantGroup;
  static constexpr int64_t kElementBytes = 1;
  using Wide = Int16Weights;

  static void Widen(const char* panel, int64_t begin, int64_t end, char* out) {
    const int8_t* w = reinterpret_cast<const int8_t*>(panel) + begin * kPanelWidth;
    for (int64_t i = 0; i < (end - begin) * kPanelWidth; i += 2 * kWidth) StoreInts(out + 2 * i, WidenInt8Pairs(w + i));
  }

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    AccumulateGroups<R, P>(activations, depth, begin, end, acc, [=](int64_t k, int p, I(&w)[2]) {
      const int8_t* from = reinterpret_cast<const int8_t*>(panels) + p * panel_bytes + k * kPanelWidth;
      if (k % 4 == 0) __builtin_prefetch(from + kPrefetchBytes);
      w[0] = WidenInt8Pairs(from);
      w[1] = WidenInt8Pairs(from + kPanelWidth);
    });
  }
};

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_GEMM_INT8_WEIGHTS_H_
