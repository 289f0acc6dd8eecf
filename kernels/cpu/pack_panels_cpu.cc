#include "kernels/cpu/pack_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace precis::kernels {
namespace {

float FromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

uint32_t ToBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

uint16_t RoundToBf16(float x) {
  const uint32_t bits = ToBits(x);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

// To nearest even, for |x| < 2^22, in a way that vectorises on any processor.
float RoundToWhole(float x) { return (x + 12582912.0f) - 12582912.0f; }

// Source element types and how they widen; f16 without branches so that loops vectorise.
struct SourceF32 {
  using Type = float;
  static float Widen(Type x) { return x; }
};
struct SourceBf16 {
  using Type = uint16_t;
  static float Widen(Type x) { return FromBits(static_cast<uint32_t>(x) << 16); }
};
struct SourceF16 {
  using Type = uint16_t;
  static float Widen(Type x) {
    const uint32_t sign = static_cast<uint32_t>(x & 0x8000) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(x & 0x7fff) << 13;
    // 2^112 moves the exponent's bias from 15 to 127, subnormals included.
    const float scaled = FromBits(magnitude) * FromBits(0x77800000);
    const uint32_t special = FromBits(magnitude) >= FromBits(0x0f800000) ? 0x7f800000 : 0;
    return FromBits(ToBits(scaled) | sign | special);
  }
};
struct SourceI8 {
  using Type = int8_t;
  static float Widen(Type x) { return x; }
};

// The panel as floats, [depth][width]: a block small enough for the cache, so that source rows are read in runs in either layout.
constexpr int64_t kBlockDepth = 256;

template <class Source>
void LoadBlock(const WeightSource& source, int64_t first_output, int columns, int64_t begin, int64_t end, int width,
               float* block) {
  const auto* data = static_cast<const typename Source::Type*>(source.data);
  if (source.layout == WeightLayout::kInOut) {
    for (int64_t k = begin; k < end; ++k) {
      const auto* row = data + k * source.out + first_output;
      float* to = block + (k - begin) * width;
      for (int n = 0; n < columns; ++n) to[n] = Source::Widen(row[n]);
    }
    return;
  }
  for (int n = 0; n < columns; ++n) {
    const auto* row = data + (first_output + n) * source.in;
    for (int64_t k = begin; k < end; ++k) block[(k - begin) * width + n] = Source::Widen(row[k]);
  }
}

void LoadAnyBlock(const WeightSource& source, int64_t first_output, int columns, int64_t begin, int64_t end,
                  int width, float* block) {
  std::fill(block, block + kBlockDepth * width, 0.0f);
  end = std::min(end, source.in);
  switch (source.dtype) {
    case SourceDType::kF32: return LoadBlock<SourceF32>(source, first_output, columns, begin, end, width, block);
    case SourceDType::kF16: return LoadBlock<SourceF16>(source, first_output, columns, begin, end, width, block);
    case SourceDType::kBf16: return LoadBlock<SourceBf16>(source, first_output, columns, begin, end, width, block);
    case SourceDType::kI8: return LoadBlock<SourceI8>(source, first_output, columns, begin, end, width, block);
  }
}

// Writes `count` inputs of the block; `inverse` (int8 only) are the outputs' 1 / scale.
void StoreBlock(const float* block, int64_t count, DType dtype, const PanelLayout& layout, const float* inverse,
                char* to) {
  const int width = layout.panel_width;
  if (dtype == DType::kF32) {
    std::memcpy(to, block, count * width * sizeof(float));
  } else if (dtype == DType::kBf16) {
    uint16_t* out = reinterpret_cast<uint16_t*>(to);
    for (int64_t k = 0; k < count; k += 2, out += 2 * width) {
      for (int n = 0; n < width; ++n) {
        out[2 * n] = RoundToBf16(block[k * width + n]);
        out[2 * n + 1] = RoundToBf16(block[(k + 1) * width + n]);
      }
    }
  } else {
    for (int64_t k = 0; k < count; ++k) {
      char* out = to + k / layout.unit * width * layout.unit + k % layout.unit;
      for (int n = 0; n < width; ++n) {
        const float scaled = RoundToWhole(std::clamp(block[k * width + n] * inverse[n], -128.0f, 127.0f));
        out[n * layout.unit] = static_cast<char>(static_cast<int>(scaled) ^ layout.int8_xor);
      }
    }
  }
}

// Symmetric scales: the largest magnitude of an output becomes 127. An int8 source keeps its own.
void FindScales(const WeightSource& source, int64_t first_output, int columns, int width, float* block,
                float* scales, float* inverse) {
  std::fill(scales, scales + width, 0.0f);
  if (source.dtype == SourceDType::kI8) {
    std::copy(source.scale + first_output, source.scale + first_output + columns, scales);
    std::fill(inverse, inverse + width, 1.0f);
    return;
  }
  for (int64_t k = 0; k < source.in; k += kBlockDepth) {
    const int64_t end = std::min(source.in, k + kBlockDepth);
    LoadAnyBlock(source, first_output, columns, k, end, width, block);
    for (int64_t i = 0; i < end - k; ++i) {
      for (int n = 0; n < width; ++n) scales[n] = std::max(scales[n], std::abs(block[i * width + n]));
    }
  }
  for (int n = 0; n < width; ++n) {
    inverse[n] = scales[n] > 0 ? 127.0f / scales[n] : 0.0f;
    scales[n] /= 127.0f;
  }
}

int64_t ElementBytes(DType dtype) { return dtype == DType::kF32 ? 4 : dtype == DType::kBf16 ? 2 : 1; }

}  // namespace

void PackPanel(const WeightSource& source, DType dtype, const PanelLayout& layout, int64_t depth,
               int64_t first_output, char* panel, float* scales) {
  const int width = layout.panel_width;
  const int columns = static_cast<int>(std::min<int64_t>(width, source.out - first_output));
  std::vector<float> block(kBlockDepth * width);
  std::vector<float> inverse(width, 1.0f);
  if (dtype == DType::kI8) FindScales(source, first_output, columns, width, block.data(), scales, inverse.data());
  for (int64_t k = 0; k < depth; k += kBlockDepth) {
    const int64_t end = std::min(depth, k + kBlockDepth);
    LoadAnyBlock(source, first_output, columns, k, end, width, block.data());
    if (source.dtype == SourceDType::kI8 && dtype != DType::kI8) {
      for (int64_t i = 0; i < end - k; ++i) {
        for (int n = 0; n < columns; ++n) block[i * width + n] *= source.scale[first_output + n];
      }
    }
    StoreBlock(block.data(), end - k, dtype, layout, inverse.data(), panel + k * width * ElementBytes(dtype));
  }
}

void UnpackOutput(const char* panel, DType dtype, const PanelLayout& layout, int64_t in, int column, float scale,
                  float* row) {
  const int width = layout.panel_width;
  for (int64_t k = 0; k < in; ++k) {
    const int64_t index = (k / layout.unit * width + column) * layout.unit + k % layout.unit;
    if (dtype == DType::kF32) {
      row[k] = reinterpret_cast<const float*>(panel)[index];
    } else if (dtype == DType::kBf16) {
      row[k] = SourceBf16::Widen(reinterpret_cast<const uint16_t*>(panel)[index]);
    } else {
      row[k] = static_cast<float>(static_cast<int8_t>(panel[index] ^ layout.int8_xor)) * scale;
    }
  }
}

}  // namespace precis::kernels
