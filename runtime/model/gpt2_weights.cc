#include "runtime/model/gpt2_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/model/status_macros.h"
#include "runtime/model/tensor_reader.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::DType;
using kernels::WeightLayout;

constexpr std::string_view kPrefix = "transformer.";
constexpr std::string_view kEmbedding = "wte.weight";
constexpr std::string_view kPositions = "wpe.weight";
constexpr std::string_view kHead = "lm_head.weight";

// "transformer." where the tensors carry it (GPT2LMHeadModel), "" where they don't (GPT2Model).
absl::StatusOr<std::string> FindPrefix(const TensorStore& store) {
  const std::string prefixed = Cat(kPrefix, kEmbedding);
  const bool with = store.Has(prefixed), without = store.Has(kEmbedding);
  if (with && without) return store.Error(prefixed, "is there beside wte.weight: the file holds two models");
  if (!with && !without) return store.Error(prefixed, "is missing, and so is wte.weight: this is no GPT-2 model");
  return std::string(with ? kPrefix : "");
}

absl::Status CheckPositions(const TensorStore& store, const std::string& name, bool alibi) {
  const bool present = store.Has(name);
  if (alibi && present) {
    return store.Error(name, "is there, but config.json says alibi: true. An ALiBi model has no learned positions; a "
                             "model trained with them can't run as ALiBi");
  }
  if (!alibi && !present) {
    return store.Error(name, "is missing. If this is an ALiBi model, config.json must say alibi: true");
  }
  return absl::OkStatus();
}

absl::Status LoadNorm(TensorReader& reader, const std::string& name, int64_t size, NormWeights* norm) {
  PRECIS_ASSIGN(norm->gain, reader.Vector(name + ".weight", size));
  PRECIS_ASSIGN(norm->bias, reader.Vector(name + ".bias", size));
  return absl::OkStatus();
}

absl::Status LoadLinear(TensorReader& reader, const std::string& name, int64_t in, int64_t out,
                        LinearWeights* linear) {
  PRECIS_ASSIGN(linear->matrix, reader.Matrix(name + ".weight", in, out, WeightLayout::kInOut));
  PRECIS_ASSIGN(linear->bias, reader.Vector(name + ".bias", out));
  return absl::OkStatus();
}

absl::Status LoadLayer(TensorReader& reader, int index, const ModelConfig& config, LayerWeights* layer) {
  const std::string name = Cat("h.", index, ".");
  const int64_t width = config.n_embd;
  PRECIS_TRY(LoadNorm(reader, name + "ln_1", width, &layer->attention_norm));
  PRECIS_TRY(LoadLinear(reader, name + "attn.c_attn", width, 3 * width, &layer->qkv));
  PRECIS_TRY(LoadLinear(reader, name + "attn.c_proj", width, width, &layer->attention_out));
  PRECIS_TRY(LoadNorm(reader, name + "ln_2", width, &layer->mlp_norm));
  PRECIS_TRY(LoadLinear(reader, name + "mlp.c_fc", width, config.n_inner, &layer->mlp_in));
  return LoadLinear(reader, name + "mlp.c_proj", config.n_inner, width, &layer->mlp_out);
}

bool SameBytes(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape() == b.shape() &&
         (a.bytes == 0 || std::memcmp(a.data, b.data, a.bytes) == 0);
}

bool SameTensor(const TensorStore& store, const std::string& a, const std::string& b) {
  const TensorStore::Entry* first = store.Find(a);
  const TensorStore::Entry* second = store.Find(b);
  if (!SameBytes(first->view, second->view)) return false;
  if (first->view.dtype != TensorDType::kI8) return true;
  const TensorStore::Entry* first_scale = store.Find(a + ".scale");
  const TensorStore::Entry* second_scale = store.Find(b + ".scale");
  return first_scale != nullptr && second_scale != nullptr && SameBytes(first_scale->view, second_scale->view);
}

// Whether the head is a matrix of its own; an error where config and file contradict each other.
absl::StatusOr<bool> HasSeparateHead(const TensorStore& store, const std::string& embedding, bool tied) {
  const std::string head(kHead);
  if (!store.Has(head)) {
    if (tied) return false;
    return store.Error(head, "is missing, but config.json says tie_word_embeddings: false");
  }
  if (SameTensor(store, head, embedding)) return false;
  if (!tied) return true;
  return store.Error(head, Cat("differs from ", embedding, ", but config.json ties them; say tie_word_embeddings: "
                               "false if the head is its own matrix"));
}

absl::Status LoadEmbeddings(const TensorStore& store, TensorReader& reader, const CheckpointConfig& config,
                            Gpt2Weights* weights) {
  const ModelConfig& model = config.model;
  PRECIS_ASSIGN(const bool separate,
                HasSeparateHead(store, reader.FullName(kEmbedding), config.tie_word_embeddings));
  if (!model.alibi) {
    PRECIS_ASSIGN(weights->positions, reader.Table(kPositions, model.n_positions, model.n_embd));
  }
  if (!separate) {
    PRECIS_ASSIGN(weights->head, reader.Matrix(kEmbedding, model.n_embd, model.vocab_size, WeightLayout::kOutIn));
    return absl::OkStatus();
  }
  PRECIS_ASSIGN(weights->separate_embedding, reader.Table(kEmbedding, model.vocab_size, model.n_embd));
  const std::string prefix = reader.FullName("");
  reader.set_prefix("");
  PRECIS_ASSIGN(weights->head, reader.Matrix(kHead, model.n_embd, model.vocab_size, WeightLayout::kOutIn));
  reader.set_prefix(prefix);
  return absl::OkStatus();
}

// Old files hold the causal mask as tensors; those are known and not needed.
bool IsMaskBuffer(std::string_view name, const std::string& prefix, int layers) {
  for (int i = 0; i < layers; ++i) {
    const std::string attention = Cat(prefix, "h.", i, ".attn.");
    if (name == attention + "bias" || name == attention + "masked_bias") return true;
  }
  return false;
}

absl::Status CheckLeftovers(const TensorStore& store, const std::string& prefix, const ModelConfig& config) {
  for (std::string_view name : store.Unused()) {
    if (IsMaskBuffer(name, prefix, config.n_layer)) continue;
    return store.Error(name, Cat("is not part of a GPT-2 model of ", config.n_layer,
                                 " layers, or goes with a tensor of another type"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Gpt2Weights> LoadGpt2Weights(const TensorStore& store, const CheckpointConfig& config,
                                            const LoadOptions& options, kernels::ThreadPool& pool) {
  PRECIS_ASSIGN(const std::string prefix, FindPrefix(store));
  PRECIS_TRY(CheckPositions(store, Cat(prefix, kPositions), config.model.alibi));
  PackTarget target{.isa = options.isa};
  if (!options.weights_auto) target.dtype = options.weights;
  TensorReader reader(store, prefix, target, pool);
  Gpt2Weights weights;
  PRECIS_TRY(LoadEmbeddings(store, reader, config, &weights));
  for (int i = 0; i < config.model.n_layer; ++i) {
    LayerWeights layer;
    PRECIS_TRY(LoadLayer(reader, i, config.model, &layer));
    weights.dtype = i == 0 ? layer.qkv.matrix->dtype() : std::max(weights.dtype, layer.qkv.matrix->dtype());
    weights.layers.push_back(std::move(layer));
  }
  PRECIS_TRY(LoadNorm(reader, "ln_f", config.model.n_embd, &weights.final_norm));
  PRECIS_TRY(CheckLeftovers(store, prefix, config.model));
  weights.bytes = reader.bytes();
  weights.parameters = reader.parameters();
  return weights;
}

}  // namespace precis::runtime
