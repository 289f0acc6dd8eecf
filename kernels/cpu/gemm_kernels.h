#ifndef PRECIS_KERNELS_CPU_GEMM_KERNELS_H_
#define PRECIS_KERNELS_CPU_GEMM_KERNELS_H_

// Micro-kernels of the matrix products. Included by isa_*.cc after gemm_weights.h.
//
// An element of y is one chain of fused multiply-adds over the inputs in order, whatever the number of rows, the blocking or the threads:
// partial sums go to memory and back between blocks of the depth, which changes no bits.
namespace precis::kernels::PRECIS_ISA {

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

// Micro-kernels by rows (1 .. kGroupRows) for `P` panels at a time, P as many as the registers hold for few rows.
template <class Weights, int P>
MicroFunction MicroForRows(int rows) {
  switch (rows) {
    case 1: return Micro<Weights, 1, P>;
    case 2: return Micro<Weights, 2, P>;
    case 3: return Micro<Weights, 3, P>;
    case 4: return Micro<Weights, 4, P>;
  }
  if constexpr (P <= 2 && Weights::kGroupRows >= 6) {
    switch (rows) {
      case 5: return Micro<Weights, 5, P>;
      case 6: return Micro<Weights, 6, P>;
    }
  }
  if constexpr (P == 1 && Weights::kGroupRows >= 12) {
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

// Few rows: each panel is read once, from memory, for all of them.
template <class Weights>
void MultiplyGroup(const GemmBlock& b, float* c, int64_t c_panel) {
  for (int p = 0; p < b.panel_count;) {
    int panels = PanelsForRows(b.rows);
    while (p + panels > b.panel_count) panels /= 2;
    const MicroFunction micro = panels == 4   ? MicroForRows<Weights, 4>(b.rows)
                                : panels == 2 ? MicroForRows<Weights, 2>(b.rows)
                                              : MicroForRows<Weights, 1>(b.rows);
    micro(b.activations, b.depth, b.panels + p * b.panel_bytes, b.panel_bytes, 0, b.depth, c + p * c_panel, c_panel);
    p += panels;
  }
}

// Many rows: slices of kBlockDepth inputs of a panel, from L1 for one group of rows after the other.
template <class Weights>
void MultiplyGroups(const GemmBlock& b, float* c, int64_t c_panel) {
  using Wide = typename Weights::Wide;
  constexpr bool kWidened = !std::is_same_v<Weights, Wide>;
  constexpr int64_t kWideRow = kPanelWidth * Wide::kElementBytes;
  alignas(64) char widened[kWidened ? Weights::kBlockDepth * kWideRow : 1];
  const int64_t row_bytes = Weights::RowBytes(b.depth);
  for (int64_t begin = 0; begin < b.depth; begin += Weights::kBlockDepth) {
    const int64_t end = begin + Weights::kBlockDepth < b.depth ? begin + Weights::kBlockDepth : b.depth;
    for (int p = 0; p < b.panel_count; ++p) {
      const char* panel = b.panels + p * b.panel_bytes;
      if constexpr (kWidened) {
        Weights::Widen(panel, begin, end, widened);
        panel = widened - begin * kWideRow;
      }
      for (int r = 0; r < b.rows; r += b.group_rows) {
        const int rows = b.rows - r < b.group_rows ? b.rows - r : b.group_rows;
        MicroForRows<Wide, 1>(rows)(b.activations + r * row_bytes, b.depth, panel, b.panel_bytes, begin, end,
                                    c + p * c_panel + r * kPanelWidth, c_panel);
      }
    }
  }
}

template <class Weights>
void Multiply(const GemmBlock& b) {
  alignas(64) float c[kPanelsPerTask * kGemmRows * kPanelWidth];
  const int64_t c_panel = static_cast<int64_t>(b.rows) * kPanelWidth;
  if (b.rows <= Weights::kGroupRows) {
    MultiplyGroup<Weights>(b, c, c_panel);
  } else {
    MultiplyGroups<Weights>(b, c, c_panel);
  }
  Finish(b, c, c_panel);
}

template <class Weights>
GemmKernels MakeGemmKernels() {
  GemmKernels kernels;
  kernels.layout = {kPanelWidth, Weights::kUnit, Weights::kDepthMultiple, Weights::kUnit == 4 ? 0x80 : 0};
  kernels.max_group_rows = Weights::kGroupRows;
  kernels.row_bytes = Weights::RowBytes;
  kernels.pack_activations = Weights::Pack;
  kernels.multiply = Multiply<Weights>;
  return kernels;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_GEMM_KERNELS_H_
