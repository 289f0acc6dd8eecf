// Training's kernels of one instruction set: packing for the products, dropout, the optimiser, and the table of all. Included once by each
// train_<isa>.cc after isa_<isa>'s headers, with PRECIS_ISA set.
#ifndef PRECIS_KERNELS_CPU_TRAIN_TRAIN_BODY_H_
#define PRECIS_KERNELS_CPU_TRAIN_TRAIN_BODY_H_

#include "kernels/cpu/train/train_table.h"
// After train_table.h.
#include "kernels/cpu/train/elements.h"
#include "kernels/cpu/train/row_gradients.h"
#include "kernels/cpu/train/train_attention.h"

namespace precis::kernels::PRECIS_ISA {

template <class T>
void PackRows(const T* a, int64_t stride, bool transposed, int rows, int64_t depth, float* packed) {
  if (transposed) {
    for (int64_t k = 0; k < depth; ++k) {
      for (int r = 0; r < rows; ++r) packed[k * rows + r] = Widen(a[k * stride + r]);
    }
    return;
  }
  // Blocks that stay in L1 while they are read along rows and written along columns.
  constexpr int64_t kBlock = 64;
  for (int64_t begin = 0; begin < depth; begin += kBlock) {
    const int64_t end = begin + kBlock < depth ? begin + kBlock : depth;
    for (int r = 0; r < rows; ++r) {
      for (int64_t k = begin; k < end; ++k) packed[k * rows + r] = Widen(a[r * stride + k]);
    }
  }
}

template <class T>
void PackTrainPanel(const T* b, int64_t stride, bool transposed, int columns, int64_t depth, float* panel) {
  constexpr int kPanel = 2 * kWidth;
  if (columns < kPanel) Clear(panel, depth * kPanel);
  if (!transposed) {
    for (int64_t k = 0; k < depth; ++k) {
      for (int n = 0; n < columns; ++n) panel[k * kPanel + n] = Widen(b[k * stride + n]);
    }
    return;
  }
  constexpr int64_t kBlock = 64;
  for (int64_t begin = 0; begin < depth; begin += kBlock) {
    const int64_t end = begin + kBlock < depth ? begin + kBlock : depth;
    for (int n = 0; n < columns; ++n) {
      for (int64_t k = begin; k < end; ++k) panel[k * kPanel + n] = Widen(b[n * stride + k]);
    }
  }
}

struct Random4 {
  uint32_t v[4];
};

// Philox 4x32-10 (Salmon et al. 2011), the counters of kernels/backward/dropout.cu.
PRECIS_INLINE Random4 TrainPhilox(uint64_t counter, uint64_t stream, uint64_t seed) {
  uint32_t c[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * c[0], product1 = uint64_t{0xCD9E8D57u} * c[2];
    c[0] = static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<uint32_t>(product1);
    c[2] = static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

template <class X, class Y>
void DropoutSpan(const X* x, Y* y, uint64_t seed, uint64_t stream, float rate, int64_t first, int64_t count) {
  const uint32_t threshold = static_cast<uint32_t>(static_cast<double>(rate) * 4294967296.0);
  const float scale = 1.0f / (1.0f - rate);
  for (int64_t i = 0; i < count; i += 4) {
    const Random4 random = TrainPhilox(static_cast<uint64_t>(first + i) / 4, stream, seed);
    for (int j = 0; j < 4 && i + j < count; ++j) Put(y + i + j, random.v[j] >= threshold ? Widen(x[i + j]) * scale : 0.0f);
  }
}

template <class X, class Y>
void ConvertSpan(const X* x, Y* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) Put(y + i, Widen(x[i]));
}

inline void AdamWSpan(float* weights, uint16_t* working, const float* gradient, float* first, float* second, float gradient_scale, float rate, float beta1,
                      float beta2, float epsilon, float decay, float correction1, float correction2, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * gradient_scale;
    const float m = beta1 * first[i] + (1 - beta1) * g;
    const float v = beta2 * second[i] + (1 - beta2) * g * g;
    first[i] = m;
    second[i] = v;
    weights[i] -= rate * (m / correction1 / (__builtin_sqrtf(v / correction2) + epsilon) + decay * weights[i]);
  }
  if (working == nullptr) return;
  for (int64_t i = 0; i < count; ++i) working[i] = RoundBf16(weights[i]);
}

// Four partial sums in double: one order, whatever the threads (the caller cuts at fixed places).
inline double SquaredNormSpan(const float* values, int64_t count) {
  double sums[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += static_cast<double>(values[i + j]) * values[i + j];
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * values[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Calls f with null pointers of the element types.
template <class Function>
auto WithType(bool bf16, Function f) {
  return bf16 ? f(static_cast<uint16_t*>(nullptr)) : f(static_cast<float*>(nullptr));
}
#define PRECIS_TYPE_OF(pointer) std::remove_pointer_t<decltype(pointer)>

template <template <class, class> class Span, class... Args>
void WithTypes(bool x_bf16, bool y_bf16, const void* x, void* y, Args... args) {
  if (x_bf16 && y_bf16) return Span<uint16_t, uint16_t>::Run(static_cast<const uint16_t*>(x), static_cast<uint16_t*>(y), args...);
  if (x_bf16) return Span<uint16_t, float>::Run(static_cast<const uint16_t*>(x), static_cast<float*>(y), args...);
  if (y_bf16) return Span<float, uint16_t>::Run(static_cast<const float*>(x), static_cast<uint16_t*>(y), args...);
  return Span<float, float>::Run(static_cast<const float*>(x), static_cast<float*>(y), args...);
}
template <class X, class Y>
struct DropoutRun {
  static void Run(const X* x, Y* y, uint64_t seed, uint64_t stream, float rate, int64_t first, int64_t count) {
    DropoutSpan(x, y, seed, stream, rate, first, count);
  }
};
template <class X, class Y>
struct ConvertRun {
  static void Run(const X* x, Y* y, int64_t count) { ConvertSpan(x, y, count); }
};

inline TrainKernels MakeTrainKernels() {
  TrainKernels k;
  k.attention_forward = [](const TrainAttentionTask& t) { t.bf16 ? AttentionForwardOf<uint16_t>(t) : AttentionForwardOf<float>(t); };
  k.attention_backward = [](const TrainAttentionTask& t) { t.bf16 ? AttentionBackwardOf<uint16_t>(t) : AttentionBackwardOf<float>(t); };
  k.attention_scratch = TrainAttentionScratch;
  k.pack_rows = [](const void* a, int64_t stride, bool transposed, bool bf16, int rows, int64_t depth, float* packed) {
    WithType(bf16, [&](auto* type) { PackRows(static_cast<decltype(type)>(const_cast<void*>(a)), stride, transposed, rows, depth, packed); });
  };
  k.pack_panel = [](const void* b, int64_t stride, bool transposed, bool bf16, int columns, int64_t depth, float* panel) {
    WithType(bf16, [&](auto* type) { PackTrainPanel(static_cast<decltype(type)>(const_cast<void*>(b)), stride, transposed, columns, depth, panel); });
  };
  k.norm = [](const float* x, const void* delta, const float* gain, const float* bias, float epsilon, int64_t size, bool bf16, float* sum, void* y) {
    WithType(bf16, [&](auto* type) {
      using T = PRECIS_TYPE_OF(type);
      NormRow(x, static_cast<const T*>(delta), gain, bias, epsilon, size, sum, static_cast<T*>(y));
    });
  };
  k.norm_backward = [](const float* x, const void* dy, const float* gain, float epsilon, int64_t size, bool bf16, float* dx, float* gain_gradient,
                       float* bias_gradient) {
    WithType(bf16, [&](auto* type) {
      NormBackwardRow(x, static_cast<const PRECIS_TYPE_OF(type)*>(dy), gain, epsilon, size, dx, gain_gradient, bias_gradient);
    });
  };
  k.activate = [](const void* x, void* y, bool bf16, int activation, int64_t count) {
    WithType(bf16, [&](auto* type) {
      using T = PRECIS_TYPE_OF(type);
      ActivateSpan(static_cast<const T*>(x), static_cast<T*>(y), activation, count);
    });
  };
  k.activation_backward = [](const void* x, const void* dy, void* dx, bool bf16, int activation, int64_t count) {
    WithType(bf16, [&](auto* type) {
      using T = PRECIS_TYPE_OF(type);
      ActivationBackwardSpan(static_cast<const T*>(x), static_cast<const T*>(dy), static_cast<T*>(dx), activation, count);
    });
  };
  k.add_row = [](const void* dy, bool bf16, int64_t size, float* sums) {
    WithType(bf16, [&](auto* type) {
      const auto* row = static_cast<const PRECIS_TYPE_OF(type)*>(dy);
      for (int64_t i = 0; i < size; ++i) sums[i] += Widen(row[i]);
    });
  };
  k.cross_entropy = [](void* logits, bool bf16, int64_t vocab, int32_t target, float factor) {
    return WithType(bf16, [&](auto* type) { return CrossEntropyRow(static_cast<decltype(type)>(logits), vocab, target, factor); });
  };
  k.dropout = [](const void* x, bool x_bf16, void* y, bool y_bf16, uint64_t seed, uint64_t stream, float rate, int64_t first, int64_t count) {
    WithTypes<DropoutRun>(x_bf16, y_bf16, x, y, seed, stream, rate, first, count);
  };
  k.convert = [](const void* x, bool x_bf16, void* y, bool y_bf16, int64_t count) { WithTypes<ConvertRun>(x_bf16, y_bf16, x, y, count); };
  k.adamw = AdamWSpan;
  k.squared_norm = SquaredNormSpan;
  return k;
}
#undef PRECIS_TYPE_OF

const TrainKernels& TrainingKernels() {
  static const TrainKernels kernels = MakeTrainKernels();
  return kernels;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_TRAIN_TRAIN_BODY_H_
