#ifndef PRECIS_KERNELS_CPU_GEMM_WEIGHTS_H_
#define PRECIS_KERNELS_CPU_GEMM_WEIGHTS_H_

// Weights that are multiplied as floats, by f32 activations. Included by isa_*.cc after vector_math.h.
//
// Each kind of weights has: kUnit, inputs of an output that lie side by side; kBlockDepth, inputs of one pass when many rows share a panel (the
// slice stays in L1); kGroupRows, the most rows of a group; Accumulate, the inner loop of R rows by P panels. Where Wide is another kind, many rows share the work of
// widening: Widen turns inputs [begin, end) of a panel into that kind, with the same result to the bit.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int kPanelWidth = 2 * kWidth;
inline constexpr int64_t kPrefetchBytes = 2048;  // ahead in each panel; past its end it runs into the next, which is next

// Rows packed [depth][rows], zeros past the end.
struct FloatActivations {
  static constexpr int kDepthMultiple = 2;
  static constexpr int kGroupRows = kMaxRows;
  static int64_t RowBytes(int64_t depth) { return depth * 4; }

  static void Pack(const float* x, int64_t stride, int rows, int64_t in, int64_t depth, char* out) {
    float* packed = reinterpret_cast<float*>(out);
    for (int r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < in; ++k) packed[k * rows + r] = x[r * stride + k];
      for (int64_t k = in; k < depth; ++k) packed[k * rows + r] = 0;
    }
  }
};

// f32 weights: [depth][width].
struct F32Weights : FloatActivations {
  static constexpr int kUnit = 1;
  static constexpr int64_t kBlockDepth = 256;
  static constexpr int64_t kElementBytes = 4;
  using Wide = F32Weights;

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    const float* x = reinterpret_cast<const float*>(activations) + begin * R;
    const float* w = reinterpret_cast<const float*>(panels) + begin * kPanelWidth;
    const int64_t panel = panel_bytes / 4;
    for (int64_t k = begin; k < end; ++k, x += R, w += kPanelWidth) {
      PRECIS_UNROLL for (int p = 0; p < P; ++p) {
        __builtin_prefetch(w + p * panel + kPrefetchBytes / 4);
        const F w0 = Load(w + p * panel), w1 = Load(w + p * panel + kWidth);
        PRECIS_UNROLL for (int r = 0; r < R; ++r) {
          const F a = Set(x[r]);
          acc[r][p][0] = Fma(a, w0, acc[r][p][0]);
          acc[r][p][1] = Fma(a, w1, acc[r][p][1]);
        }
      }
    }
  }
};

// bf16 weights in pairs of inputs, [depth / 2][width][2], which one shift or one mask widens. Activations stay f32.
struct Bf16Weights : FloatActivations {
  static constexpr int kUnit = 2;
  static constexpr int64_t kBlockDepth = 256;
  static constexpr int64_t kElementBytes = 2;
  using Wide = F32Weights;

  static void Widen(const char* panel, int64_t begin, int64_t end, char* to) {
    float* out = reinterpret_cast<float*>(to);
    const uint16_t* w = reinterpret_cast<const uint16_t*>(panel) + begin * kPanelWidth;
    for (int64_t k = begin; k < end; k += 2, w += 2 * kPanelWidth, out += 2 * kPanelWidth) {
      PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
        F even, odd;
        LoadBf16Pairs(w + half * 2 * kWidth, &even, &odd);
        Store(out + half * kWidth, even);
        Store(out + kPanelWidth + half * kWidth, odd);
      }
    }
  }

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    const float* x = reinterpret_cast<const float*>(activations) + begin * R;
    const uint16_t* w = reinterpret_cast<const uint16_t*>(panels) + begin * kPanelWidth;
    const int64_t panel = panel_bytes / 2;
    for (int64_t k = begin; k < end; k += 2, x += 2 * R, w += 2 * kPanelWidth) {
      PRECIS_UNROLL for (int p = 0; p < P; ++p) {
        __builtin_prefetch(w + p * panel + kPrefetchBytes / 2);
        PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
          F even, odd;
          LoadBf16Pairs(w + p * panel + half * 2 * kWidth, &even, &odd);
          PRECIS_UNROLL for (int r = 0; r < R; ++r) acc[r][p][half] = Fma(Set(x[r]), even, acc[r][p][half]);
          PRECIS_UNROLL for (int r = 0; r < R; ++r) acc[r][p][half] = Fma(Set(x[R + r]), odd, acc[r][p][half]);
        }
      }
    }
  }
};

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_GEMM_WEIGHTS_H_
