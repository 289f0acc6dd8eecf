#ifndef PRECIS_KERNELS_CPU_GEMM_KERNELS_H_
#define PRECIS_KERNELS_CPU_GEMM_KERNELS_H_

// Micro-kernels of the matrix products. Included by isa_*.cc after vector_math.h.
//
// An element of y is one chain of fused multiply-adds over the inputs in order, whatever the number of rows, the blocking or the threads:
// partial sums go to memory and back between blocks of the depth, which changes no bits.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int kPanelWidth = 2 * kWidth;
inline constexpr int kQuantGroup = 64;  // int8 activations share a scale over this many inputs of a row

PRECIS_INLINE uint32_t RoundToBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

// f32 weights: [depth][width].
struct F32Weights {
  static constexpr int kUnit = 1;
  static constexpr int kDepthMultiple = 1;
  static constexpr int kBlockDepth = 256;  // inputs of one pass when many rows share a panel: a panel's slice stays in L1
  static constexpr int64_t PanelRowBytes() { return kPanelWidth * 4; }  // a unit of inputs
  static int64_t RowBytes(int64_t depth) { return depth * 4; }

  static void Pack(const float* x, int64_t stride, int rows, int64_t in, int64_t depth, char* out) {
    float* packed = reinterpret_cast<float*>(out);
    for (int r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < in; ++k) packed[k * rows + r] = x[r * stride + k];
    }
  }

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    const float* x = reinterpret_cast<const float*>(activations) + begin * R;
    const float* w = reinterpret_cast<const float*>(panels) + begin * kPanelWidth;
    const int64_t panel = panel_bytes / 4;
    for (int64_t k = begin; k < end; ++k, x += R, w += kPanelWidth) {
      PRECIS_UNROLL for (int p = 0; p < P; ++p) {
        if constexpr (R * P <= 8) __builtin_prefetch(w + p * panel + 512);
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

// bf16 weights in pairs of inputs: [depth / 2][width][2], which vdpbf16ps takes as they are and which costs one shift or mask to widen.
struct Bf16Weights {
  static constexpr int kUnit = 2;
  static constexpr int kDepthMultiple = 2;
  static constexpr int kBlockDepth = 512;
  static constexpr int64_t PanelRowBytes() { return kPanelWidth * 4; }
  static int64_t RowBytes(int64_t depth) { return kBf16Dot ? depth * 2 : depth * 4; }

  static void Pack(const float* x, int64_t stride, int rows, int64_t in, int64_t depth, char* out) {
    float* packed = reinterpret_cast<float*>(out);
    uint16_t* pairs = reinterpret_cast<uint16_t*>(out);
    for (int r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < depth; ++k) {
        const float value = k < in ? x[r * stride + k] : 0.0f;
        if constexpr (kBf16Dot) {
          pairs[(k / 2 * rows + r) * 2 + k % 2] = static_cast<uint16_t>(RoundToBf16(value));
        } else {
          packed[k * rows + r] = value;
        }
      }
    }
  }

  template <int R, int P>
  PRECIS_INLINE static void Accumulate(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes,
                                       int64_t begin, int64_t end, F (&acc)[R][P][2]) {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(panels) + begin * kPanelWidth;
    const int64_t panel = panel_bytes / 2;
    if constexpr (kBf16Dot) {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(activations) + begin * R;
      for (int64_t k = begin; k < end; k += 2, x += 2 * R, w += 2 * kPanelWidth) {
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          if constexpr (R * P <= 8) __builtin_prefetch(w + p * panel + 1024);
          PRECIS_UNROLL for (int r = 0; r < R; ++r) {
            uint32_t pair;
            std::memcpy(&pair, x + 2 * r, 4);
            acc[r][p][0] = Bf16Dot(acc[r][p][0], w + p * panel, pair);
            acc[r][p][1] = Bf16Dot(acc[r][p][1], w + p * panel + 2 * kWidth, pair);
          }
        }
      }
    } else {
      const float* x = reinterpret_cast<const float*>(activations) + begin * R;
      for (int64_t k = begin; k < end; k += 2, x += 2 * R, w += 2 * kPanelWidth) {
        PRECIS_UNROLL for (int p = 0; p < P; ++p) {
          if constexpr (R * P <= 8) __builtin_prefetch(w + p * panel + 1024);
          PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
            F even, odd;
            LoadBf16Pairs(w + p * panel + half * 2 * kWidth, &even, &odd);
            PRECIS_UNROLL for (int r = 0; r < R; ++r) {
              acc[r][p][half] = Fma(Set(x[r]), even, acc[r][p][half]);
            }
            PRECIS_UNROLL for (int r = 0; r < R; ++r) {
              acc[r][p][half] = Fma(Set(x[R + r]), odd, acc[r][p][half]);
            }
          }
        }
      }
    }
  }
};

// int8 weights in fours of inputs: [depth / 4][width][4]. Activations are rounded to int8 with one scale for each kQuantGroup inputs of a row; the
// products of a group are summed exactly in int32, the groups in order in float.
// Packed group of rows: bytes [depth / 4][rows][4], then scales [depth / kQuantGroup][rows], then offsets (int32) likewise.
struct Int8WeightsPolicy {
  static constexpr int kUnit = 4;
  static constexpr int kDepthMultiple = kQuantGroup;
  static constexpr int kBlockDepth = 1024;
  static constexpr int64_t PanelRowBytes() { return kPanelWidth * 4; }
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
    *offset = kInt8Xor != 0 ? -128 * sum : 0;
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
          if constexpr (R * P <= 8) __builtin_prefetch(w + p * panel_bytes + 2048);
          PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
            const Int8Weights weights = LoadInt8(w + p * panel_bytes + half * 4 * kWidth);
            PRECIS_UNROLL for (int r = 0; r < R; ++r) {
              int32_t quad;
              std::memcpy(&quad, x + 4 * r, 4);
              dot[r][p][half] = Int8Dot(dot[r][p][half], weights, quad);
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

// One group of R rows by P panels over inputs [begin, end); partial sums in c: panel p, row r at c + p * c_panel + r * kPanelWidth.
template <class Weights, int R, int P>
void Micro(const char* activations, int64_t depth, const char* panels, int64_t panel_bytes, int64_t begin, int64_t end,
           float* c, int64_t c_panel) {
  F acc[R][P][2];
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int p = 0; p < P; ++p) {
      PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
        acc[r][p][half] = begin == 0 ? Zero() : Load(c + p * c_panel + r * kPanelWidth + half * kWidth);
      }
    }
  }
  Weights::template Accumulate<R, P>(activations, depth, panels, panel_bytes, begin, end, acc);
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int p = 0; p < P; ++p) {
      PRECIS_UNROLL for (int half = 0; half < 2; ++half) {
        Store(c + p * c_panel + r * kPanelWidth + half * kWidth, acc[r][p][half]);
      }
    }
  }
}

using MicroFunction = void (*)(const char*, int64_t, const char*, int64_t, int64_t, int64_t, float*, int64_t);

// Micro-kernels by rows (1 .. kMaxRows) for `P` panels at a time, P as many as the registers hold for few rows.
template <class Weights, int P>
MicroFunction MicroForRows(int rows) {
  switch (rows) {
    case 1: return Micro<Weights, 1, P>;
    case 2: return Micro<Weights, 2, P>;
    case 3: return Micro<Weights, 3, P>;
    case 4: return Micro<Weights, 4, P>;
  }
  if constexpr (P <= 2 && kMaxRows >= 6) {
    switch (rows) {
      case 5: return Micro<Weights, 5, P>;
      case 6: return Micro<Weights, 6, P>;
    }
  }
  if constexpr (P == 1 && kMaxRows >= 12) {
    switch (rows) {
      case 7: return Micro<Weights, 7, P>;
      case 8: return Micro<Weights, 8, P>;
      case 9: return Micro<Weights, 9, P>;
      case 10: return Micro<Weights, 10, P>;
      case 11: return Micro<Weights, 11, P>;
      case 12: return Micro<Weights, 12, P>;
    }
  }
  return nullptr;
}

PRECIS_INLINE F Activate(F x, int activation) {
  switch (activation) {
    case 1: return GeluTanh(x);
    case 2: return GeluErf(x);
    case 3: return Max(Zero(), x);
    case 4: return TimesSigmoid(x, x);
    case 5: return TimesSigmoid(x, Mul(Set(1.702f), x));
  }
  return x;
}

// y = activation(c * weight_scale + bias) (+ y)
inline void Finish(const GemmBlock& b, const float* c, int64_t c_panel) {
  for (int n = 0; n < b.outputs; n += kWidth) {
    const int lanes = b.outputs - n < kWidth ? b.outputs - n : kWidth;
    const float* column = c + n / kPanelWidth * c_panel + n % kPanelWidth;
    const F scale = b.weight_scale != nullptr ? Load(b.weight_scale + n) : Set(1.0f);
    const F bias = b.bias == nullptr ? Zero() : lanes == kWidth ? Load(b.bias + n) : LoadPartial(b.bias + n, lanes);
    for (int r = 0; r < b.rows; ++r) {
      F v = Activate(Fma(Load(column + r * kPanelWidth), scale, bias), b.activation);
      float* y = b.y + r * b.y_stride + n;
      if (b.accumulate) v = Add(lanes == kWidth ? Load(y) : LoadPartial(y, lanes), v);
      if (lanes == kWidth) {
        Store(y, v);
      } else {
        StorePartial(y, v, lanes);
      }
    }
  }
}

// Panels at a time for a single group of `rows` rows: two vectors of sums a row and panel, 12 (24 with 32 registers) in all.
inline int PanelsForRows(int rows) {
  constexpr int kSums = kWidth == 16 ? 12 : 6;
  return rows * 4 <= kSums + 2 && rows <= 4 ? 4 : rows * 2 <= kSums ? 2 : 1;
}

template <class Weights>
void Multiply(const GemmBlock& b) {
  alignas(64) float c[kPanelsPerTask * kGemmRows * kPanelWidth];
  const int64_t c_panel = static_cast<int64_t>(b.rows) * kPanelWidth;
  const int64_t row_bytes = Weights::RowBytes(b.depth);
  const bool one_group = b.rows <= kMaxRows;
  const int64_t step = one_group ? b.depth : Weights::kBlockDepth;
  for (int64_t begin = 0; begin < b.depth; begin += step) {
    const int64_t end = begin + step < b.depth ? begin + step : b.depth;
    for (int p = 0; p < b.panel_count;) {
      int panels = one_group ? PanelsForRows(b.rows) : 1;
      while (p + panels > b.panel_count) panels /= 2;
      const char* panel = b.panels + p * b.panel_bytes;
      for (int r = 0; r < b.rows; r += kMaxRows) {
        const int rows = b.rows - r < kMaxRows ? b.rows - r : kMaxRows;
        const MicroFunction micro = panels == 4   ? MicroForRows<Weights, 4>(rows)
                                    : panels == 2 ? MicroForRows<Weights, 2>(rows)
                                                  : MicroForRows<Weights, 1>(rows);
        micro(b.activations + r * row_bytes, b.depth, panel, b.panel_bytes, begin, end,
              c + p * c_panel + r * kPanelWidth, c_panel);
      }
      p += panels;
    }
  }
  Finish(b, c, c_panel);
}

template <class Weights>
GemmKernels MakeGemmKernels() {
  GemmKernels kernels;
  kernels.layout = {kPanelWidth, Weights::kUnit, Weights::kDepthMultiple, Weights::kUnit == 4 ? kInt8Xor : 0};
  kernels.group_rows = kMaxRows;
  kernels.row_bytes = Weights::RowBytes;
  kernels.pack_activations = Weights::Pack;
  kernels.multiply = Multiply<Weights>;
  return kernels;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_GEMM_KERNELS_H_
