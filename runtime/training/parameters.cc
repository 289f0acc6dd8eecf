#include "runtime/training/parameters.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "runtime/model/half.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/sampling/philox.h"

namespace precis::runtime {
namespace {

constexpr int64_t kAlignment = 64;

bool EndsWith(std::string_view text, std::string_view end) { return text.size() >= end.size() && text.substr(text.size() - end.size()) == end; }

uint64_t Fnv(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

float ElementAt(const TensorView& view, int64_t i) {
  uint16_t half;
  switch (view.dtype) {
    case TensorDType::kF32: {
      float value;
      std::memcpy(&value, view.data + 4 * i, 4);
      return value;
    }
    case TensorDType::kF16: return std::memcpy(&half, view.data + 2 * i, 2), HalfToFloat(half);
    case TensorDType::kBf16: return std::memcpy(&half, view.data + 2 * i, 2), Bfloat16ToFloat(half);
    default: return static_cast<float>(static_cast<int8_t>(view.data[i]));
  }
}

absl::Status CheckShape(const TensorStore& store, const std::string& name, const TensorView& view, const Parameter& p) {
  std::vector<int64_t> wanted;
  if (!p.matrix) {
    wanted = {p.columns};
  } else if (p.transposed) {
    wanted = {p.columns, p.rows};
  } else {
    wanted = {p.rows, p.columns};
  }
  const auto shape = view.shape();
  if (std::vector<int64_t>(shape.begin(), shape.end()) == wanted) return absl::OkStatus();
  return store.Error(name, Cat("has shape ", ShapeName(shape), "; config.json asks for ", ShapeName(wanted)));
}

absl::Status ReadOne(const TensorStore& store, const std::string& name, const Parameter& p, float* to) {
  const TensorStore::Entry* entry = store.Find(name);
  if (entry == nullptr) return store.Error(name, "is missing");
  const TensorView& view = entry->view;
  PRECIS_TRY(CheckShape(store, name, view, p));
  const bool quantised = view.dtype == TensorDType::kI8 && p.matrix;
  if (view.dtype != TensorDType::kF32 && view.dtype != TensorDType::kF16 && view.dtype != TensorDType::kBf16 && !quantised) {
    return store.Error(name, Cat("is ", TensorDTypeName(view.dtype), "; F32, F16 or BF16 is needed (I8 for matrices)"));
  }
  const TensorStore::Entry* scale = quantised ? store.Find(name + ".scale") : nullptr;
  if (quantised && (scale == nullptr || scale->view.dtype != TensorDType::kF32 || scale->view.elements() != p.rows)) {
    return store.Error(name + ".scale", Cat("must be F32 of shape [", p.rows, "], beside the I8 weights"));
  }
  for (int64_t r = 0; r < p.rows; ++r) {
    const float factor = quantised ? ElementAt(scale->view, r) : 1.0f;
    for (int64_t c = 0; c < p.columns; ++c) {
      const float value = ElementAt(view, p.transposed ? c * p.rows + r : r * p.columns + c);
      to[r * p.columns + c] = quantised ? value * factor : value;
    }
  }
  store.Release(*entry);
  return absl::OkStatus();
}

// Old causal masks; a tied head; with ALiBi, the positions that are left behind.
bool MayBeLeft(std::string_view name, bool drop_positions) {
  return EndsWith(name, ".attn.bias") || EndsWith(name, ".attn.masked_bias") || name == "lm_head.weight" || name == "lm_head.weight.scale" ||
         (drop_positions && (EndsWith(name, "wpe.weight") || EndsWith(name, "wpe.weight.scale")));
}

}  // namespace

ParameterTable::ParameterTable(const CheckpointConfig& config) {
  const ModelConfig& m = config.model;
  const int64_t width = m.n_embd, inner = m.n_inner;
  Add("wte.weight", m.vocab_size, width, false, true);
  if (!m.alibi) Add("wpe.weight", m.n_positions, width, false, true);
  if (!config.tie_word_embeddings) Add("lm_head.weight", m.vocab_size, width, false, true);
  const auto layer = [](int i, std::string_view rest) { return Cat("h.", i, ".", rest); };
  for (int i = 0; i < m.n_layer; ++i) {
    Add(layer(i, "attn.c_attn.weight"), 3 * width, width, true, true);
    Add(layer(i, "attn.c_proj.weight"), width, width, true, true);
    Add(layer(i, "mlp.c_fc.weight"), inner, width, true, true);
    Add(layer(i, "mlp.c_proj.weight"), width, inner, true, true);
  }
  matrices_end_ = total_;
  for (int i = 0; i < m.n_layer; ++i) {
    for (const char* name : {"ln_1.weight", "ln_1.bias"}) Add(layer(i, name), 1, width, false, false);
    Add(layer(i, "attn.c_attn.bias"), 1, 3 * width, false, false);
    for (const char* name : {"attn.c_proj.bias", "ln_2.weight", "ln_2.bias"}) Add(layer(i, name), 1, width, false, false);
    Add(layer(i, "mlp.c_fc.bias"), 1, inner, false, false);
    Add(layer(i, "mlp.c_proj.bias"), 1, width, false, false);
  }
  for (const char* name : {"ln_f.weight", "ln_f.bias"}) Add(name, 1, width, false, false);
}

void ParameterTable::Add(std::string name, int64_t rows, int64_t columns, bool transposed, bool matrix) {
  parameters_.push_back({std::move(name), rows, columns, transposed, matrix, total_});
  total_ += (rows * columns + kAlignment - 1) / kAlignment * kAlignment;
}

const Parameter& ParameterTable::Find(std::string_view name) const {
  for (const Parameter& p : parameters_) {
    if (p.name == name) return p;
  }
  return parameters_.front();  // never: names are ours
}

int64_t ParameterTable::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& p : parameters_) count += p.count();
  return count;
}

std::vector<float> InitialWeights(const ParameterTable& table, int layers, uint64_t seed) {
  std::vector<float> weights(table.total(), 0.0f);
  for (const Parameter& p : table.all()) {
    float* to = weights.data() + p.offset;
    if (!p.matrix) {
      if (EndsWith(p.name, ".weight")) std::fill(to, to + p.count(), 1.0f);
      continue;
    }
    const double deviation = EndsWith(p.name, "c_proj.weight") ? 0.02 / std::sqrt(2.0 * layers) : 0.02;
    const uint64_t key = seed ^ Fnv(p.name);
    for (int64_t i = 0; i < p.count(); ++i) {  // Box and Muller 1958
      const double u = 1 - PhiloxUniform(key, 2 * i), v = PhiloxUniform(key, 2 * i + 1);
      to[i] = static_cast<float>(deviation * std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
    }
  }
  return weights;
}

absl::StatusOr<std::vector<float>> ReadWeights(const TensorStore& store, const ParameterTable& table, bool drop_positions) {
  const std::string prefix = store.Has("transformer.wte.weight") ? "transformer." : "";
  std::vector<float> weights(table.total(), 0.0f);
  for (const Parameter& p : table.all()) {
    const std::string name = p.name == "lm_head.weight" ? p.name : prefix + p.name;
    PRECIS_TRY(ReadOne(store, name, p, weights.data() + p.offset));
  }
  for (std::string_view name : store.Unused()) {
    if (!MayBeLeft(name, drop_positions)) return store.Error(name, "is no part of the model that config.json describes");
  }
  return weights;
}

}  // namespace precis::runtime
