#include "runtime/model/tensor_reader.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "runtime/model/half.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::DType;
using kernels::SourceDType;

std::optional<SourceDType> ToSourceDType(TensorDType dtype) {
  switch (dtype) {
    case TensorDType::kF32: return SourceDType::kF32;
    case TensorDType::kF16: return SourceDType::kF16;
    case TensorDType::kBf16: return SourceDType::kBf16;
    case TensorDType::kI8: return SourceDType::kI8;
    default: return std::nullopt;
  }
}

DType NaturalDType(SourceDType dtype) {
  switch (dtype) {
    case SourceDType::kF32: return DType::kF32;
    case SourceDType::kI8: return DType::kI8;
    default: return DType::kBf16;
  }
}

float ReadFloat(const TensorView& view, int64_t i) {
  uint16_t half;
  switch (view.dtype) {
    case TensorDType::kF16:
      std::memcpy(&half, view.data + 2 * i, 2);
      return HalfToFloat(half);
    case TensorDType::kBf16:
      std::memcpy(&half, view.data + 2 * i, 2);
      return Bfloat16ToFloat(half);
    default: {
      float value;
      std::memcpy(&value, view.data + 4 * i, 4);
      return value;
    }
  }
}

// The tensor's elements where kernels may read them: in the file, or copied to `*copy` if they lie unaligned there.
const void* Aligned(const TensorView& view, std::vector<char>* copy) {
  if (reinterpret_cast<uintptr_t>(view.data) % TensorDTypeBytes(view.dtype) == 0) return view.data;
  copy->assign(view.data, view.data + view.bytes);
  return copy->data();
}

}  // namespace

std::string TensorReader::FullName(std::string_view name) const { return Cat(prefix_, name); }

absl::StatusOr<const TensorStore::Entry*> TensorReader::Find(const std::string& name,
                                                             absl::Span<const int64_t> shape) {
  const TensorStore::Entry* entry = store_.Find(name);
  if (entry == nullptr) return store_.Error(name, Cat("is missing; shape ", ShapeName(shape), " is needed"));
  if (entry->view.shape() != shape) {
    return store_.Error(name, Cat("has shape ", ShapeName(entry->view.shape()), "; config.json asks for ",
                                  ShapeName(shape)));
  }
  return entry;
}

absl::StatusOr<std::vector<float>> TensorReader::Vector(std::string_view name, int64_t size) {
  const std::string full = FullName(name);
  PRECIS_ASSIGN(const TensorStore::Entry* entry, Find(full, {size}));
  const TensorView& view = entry->view;
  if (view.dtype != TensorDType::kF32 && view.dtype != TensorDType::kF16 && view.dtype != TensorDType::kBf16) {
    return store_.Error(full, Cat("has type ", TensorDTypeName(view.dtype), "; F32, F16 or BF16 is needed"));
  }
  std::vector<float> values(size);
  for (int64_t i = 0; i < size; ++i) values[i] = ReadFloat(view, i);
  store_.Release(*entry);
  parameters_ += size;
  bytes_ += size * static_cast<int64_t>(sizeof(float));
  return values;
}

absl::StatusOr<std::vector<float>> TensorReader::Scales(const std::string& name, int64_t out) {
  const std::string scale_name = name + ".scale";
  PRECIS_ASSIGN(const TensorStore::Entry* entry, Find(scale_name, {out}));
  if (entry->view.dtype != TensorDType::kF32) {
    return store_.Error(scale_name, Cat("has type ", TensorDTypeName(entry->view.dtype), "; F32 is needed"));
  }
  std::vector<float> scales(out);
  if (out > 0) std::memcpy(scales.data(), entry->view.data, out * sizeof(float));
  for (int64_t i = 0; i < out; ++i) {
    if (!std::isfinite(scales[i])) return store_.Error(scale_name, Cat("element ", i, " is not finite"));
  }
  return scales;
}

absl::StatusOr<std::unique_ptr<kernels::PackedMatrix>> TensorReader::PackMatrix(const std::string& name, int64_t in,
                                                                                int64_t out,
                                                                                kernels::WeightLayout layout,
                                                                                PackTarget target) {
  const bool in_first = layout == kernels::WeightLayout::kInOut;
  PRECIS_ASSIGN(const TensorStore::Entry* entry, Find(name, {in_first ? in : out, in_first ? out : in}));
  const auto dtype = ToSourceDType(entry->view.dtype);
  if (!dtype) {
    return store_.Error(name, Cat("has type ", TensorDTypeName(entry->view.dtype),
                                  "; F32, F16, BF16 or I8 is needed"));
  }
  std::vector<float> scales;
  if (*dtype == SourceDType::kI8) {
    PRECIS_ASSIGN(scales, Scales(name, out));
  }
  std::vector<char> copy;
  const kernels::WeightSource source{.data = Aligned(entry->view, &copy), .dtype = *dtype, .layout = layout,
                                     .in = in, .out = out, .scale = scales.empty() ? nullptr : scales.data()};
  auto packed = kernels::PackedMatrix::Pack(source, target.dtype.value_or(NaturalDType(*dtype)), target.isa, pool_);
  if (!packed.ok()) return store_.Error(name, std::string(packed.status().message()));
  store_.Release(*entry);
  parameters_ += in * out;
  bytes_ += (*packed)->bytes();
  return std::move(*packed);
}

absl::StatusOr<std::unique_ptr<kernels::PackedMatrix>> TensorReader::Matrix(std::string_view name, int64_t in,
                                                                            int64_t out,
                                                                            kernels::WeightLayout layout) {
  return PackMatrix(FullName(name), in, out, layout, target_);
}

absl::StatusOr<std::unique_ptr<kernels::PackedMatrix>> TensorReader::Table(std::string_view name, int64_t rows,
                                                                           int64_t size) {
  PackTarget target = target_;
  if (target.dtype == DType::kI8) target.dtype = DType::kBf16;
  return PackMatrix(FullName(name), size, rows, kernels::WeightLayout::kOutIn, target);
}

}  // namespace precis::runtime
