#include "runtime/model/config_json.h"

#include <cmath>
#include <set>
#include <utility>

#include "runtime/model/json_object.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using nlohmann::json;

struct IntOption {
  std::string_view name;
  std::string_view alias;  // the name that newer files may use; "" for none
  int64_t maximum;
  int ModelConfig::* field;
};

// The sizes that every file must give. The limits are far past any GPT-2 and keep every product inside 64 bits.
constexpr IntOption kSizes[] = {
    {"n_layer", "num_hidden_layers", 4096, &ModelConfig::n_layer},
    {"n_head", "num_attention_heads", 4096, &ModelConfig::n_head},
    {"n_embd", "hidden_size", 1 << 18, &ModelConfig::n_embd},
    {"n_positions", "max_position_embeddings", 1 << 26, &ModelConfig::n_positions},
    {"vocab_size", "", 1 << 26, &ModelConfig::vocab_size},
};

constexpr std::pair<std::string_view, kernels::Activation> kActivations[] = {
    {"gelu_new", kernels::Activation::kGeluTanh},
    {"gelu_pytorch_tanh", kernels::Activation::kGeluTanh},
    {"gelu_fast", kernels::Activation::kGeluTanh},
    {"gelu", kernels::Activation::kGeluErf},
    {"gelu_python", kernels::Activation::kGeluErf},
    {"relu", kernels::Activation::kRelu},
    {"silu", kernels::Activation::kSilu},
    {"swish", kernels::Activation::kSilu},
    {"quick_gelu", kernels::Activation::kQuickGelu},
};

// Options read elsewhere in this file.
constexpr std::string_view kRead[] = {
    "n_layer", "num_hidden_layers", "n_head", "num_attention_heads", "n_embd", "hidden_size", "n_positions",
    "max_position_embeddings", "vocab_size", "n_inner", "activation_function", "layer_norm_epsilon",
    "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings", "alibi", "eos_token_id",
    "model_type", "architectures",
};

// Options that change nothing that an inference server computes from the weights: training, initialisation, outputs of
// transformers' Python API, defaults of its generate(), provenance. reorder_and_upcast_attn is about half-precision
// overflow; scores are computed in float here in any case.
constexpr std::string_view kHarmless[] = {
    "reorder_and_upcast_attn", "n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout",
    "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "initializer_range",
    "gradient_checkpointing", "use_cache", "torch_dtype", "dtype", "transformers_version", "bos_token_id",
    "pad_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "task_specific_params", "problem_type", "finetuning_task", "tokenizer_class", "prefix", "id2label", "label2id",
    "num_labels", "return_dict", "output_attentions", "output_hidden_states", "output_scores",
    "return_dict_in_generate", "torchscript", "use_bfloat16", "tf_legacy_loss", "is_decoder", "max_length",
    "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature",
    "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "chunk_size_feed_forward",
    "attn_implementation", "n_special", "predict_special_tokens", "output_past", "loss_type", "max_new_tokens",
    "min_new_tokens", "unk_token_id", "mask_token_id", "model_max_length",
};

template <size_t N>
bool Contains(const std::string_view (&list)[N], std::string_view name) {
  for (std::string_view item : list) {
    if (item == name) return true;
  }
  return false;
}

bool IsEmptyValue(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_array() || value.is_object() || value.is_string()) && value.size() == 0) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

// As in the file, in ASCII, cut.
std::string Shown(const json& value) {
  constexpr size_t kLimit = 120;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > kLimit) text = text.substr(0, kLimit) + "...";
  return text;
}

// Reads options of one object; remembers the first error.
class Reader {
 public:
  Reader(const json& object, std::string_view file_name) : object_(object), file_name_(file_name) {}

  const absl::Status& status() const { return status_; }

  void Fail(std::string_view what) {
    if (status_.ok()) status_ = JsonError(file_name_, what);
  }

  const json* Find(std::string_view name) const {
    const auto it = object_.find(std::string(name));
    return it == object_.end() ? nullptr : &*it;
  }

  void ReadInt(const json& value, std::string_view name, int64_t maximum, int* out) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 ||
        value.get<uint64_t>() > static_cast<uint64_t>(maximum)) {
      return Fail(Cat(name, " is ", Shown(value), "; an integer from 1 to ", maximum, " is needed"));
    }
    *out = static_cast<int>(value.get<uint64_t>());
  }

  void ReadSize(const IntOption& option, ModelConfig* config) {
    const json* value = Find(option.name);
    const json* alias = option.alias.empty() ? nullptr : Find(option.alias);
    if (value != nullptr && alias != nullptr && *value != *alias) {
      return Fail(Cat(option.name, " is ", Shown(*value), " but ", option.alias, " is ", Shown(*alias)));
    }
    if (value == nullptr) value = alias;
    if (value == nullptr) return Fail(Cat(option.name, " is missing"));
    ReadInt(*value, option.name, option.maximum, &(config->*option.field));
  }

  void ReadBool(std::string_view name, bool* out) {
    const json* value = Find(name);
    if (value == nullptr || value->is_null()) return;
    if (!value->is_boolean()) return Fail(Cat(name, " is ", Shown(*value), "; true or false is needed"));
    *out = value->get<bool>();
  }

  void ReadString(std::string_view name, std::string* out) {
    const json* value = Find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return Fail(Cat(name, " is ", Shown(*value), "; a string is needed"));
    *out = value->get<std::string>();
  }

 private:
  const json& object_;
  const std::string_view file_name_;
  absl::Status status_;
};

void CheckFamily(Reader& reader) {
  std::string type = "gpt2";
  reader.ReadString("model_type", &type);
  if (type != "gpt2") {
    reader.Fail(Cat("model_type is '", Printable(type), "'; only gpt2 is supported"));
  }
  const json* architectures = reader.Find("architectures");
  if (architectures == nullptr || IsEmptyValue(*architectures)) return;
  if (architectures->is_array()) {
    for (const json& name : *architectures) {
      if (name == "GPT2LMHeadModel" || name == "GPT2Model") return;
    }
  }
  reader.Fail(Cat("architectures is ", Shown(*architectures),
                           "; GPT2LMHeadModel or GPT2Model is supported"));
}

void ReadActivation(Reader& reader, CheckpointConfig* config) {
  std::string& name = config->model.activation_function;
  reader.ReadString("activation_function", &name);
  std::string known;
  for (const auto& [candidate, activation] : kActivations) {
    if (candidate == name) {
      config->activation = activation;
      return;
    }
    known += Cat(known.empty() ? "" : ", ", candidate);
  }
  reader.Fail(Cat("activation_function '", Printable(name), "' is not supported; supported are ", known));
}

void ReadEpsilon(Reader& reader, ModelConfig* config) {
  const json* value = reader.Find("layer_norm_epsilon");
  if (value == nullptr) return;
  const double epsilon = value->is_number() ? value->get<double>() : -1;
  // 1e-30 keeps it positive as a float.
  if (!std::isfinite(epsilon) || epsilon < 1e-30 || epsilon > 1) {
    return reader.Fail(Cat("layer_norm_epsilon is ", Shown(*value), "; a number from 1e-30 to 1 is needed"));
  }
  config->layer_norm_epsilon = static_cast<float>(epsilon);
}

// An id outside of the vocabulary can't be produced, so it counts as none (transformers writes its default of 50256
// into the files of smaller vocabularies).
void ReadEndOfText(Reader& reader, ModelConfig* config) {
  const json* value = reader.Find("eos_token_id");
  if (value == nullptr || value->is_null()) return;
  if (value->is_array() && value->size() == 1) value = &(*value)[0];
  if (!value->is_number_integer() || (!value->is_number_unsigned() && value->get<int64_t>() != -1)) {
    return reader.Fail(Cat("eos_token_id is ", Shown(*value), "; one token id is needed"));
  }
  if (value->is_number_unsigned() && value->get<uint64_t>() < static_cast<uint64_t>(config->vocab_size)) {
    config->eos_token_id = static_cast<int>(value->get<uint64_t>());
  }
}

void CheckHeads(Reader& reader, const ModelConfig& config) {
  if (config.n_embd % config.n_head != 0) {
    return reader.Fail(Cat("n_embd ", config.n_embd, " is no multiple of n_head ", config.n_head));
  }
  if (config.head_dim() % 2 != 0 || config.head_dim() > 256) {
    reader.Fail(Cat("n_embd / n_head is ", config.head_dim(),
                             "; an even head size of at most 256 is supported"));
  }
}

void CheckOthers(Reader& reader, const json& object) {
  for (const auto& [name, value] : object.items()) {
    if (Contains(kRead, name) || Contains(kHarmless, name) || name.rfind('_', 0) == 0 || IsEmptyValue(value)) {
      continue;
    }
    reader.Fail(Cat("option '", Printable(name), "' = ", Shown(value),
                             " is not supported; remove it if the model doesn't depend on it"));
  }
}

}  // namespace

absl::StatusOr<CheckpointConfig> ParseConfig(std::string_view text, std::string_view file_name) {
  PRECIS_ASSIGN(const json object, ParseJsonObject(text, file_name));
  CheckpointConfig config;
  Reader reader(object, file_name);
  CheckFamily(reader);
  for (const IntOption& option : kSizes) reader.ReadSize(option, &config.model);
  if (!reader.status().ok()) return reader.status();
  CheckHeads(reader, config.model);
  config.model.n_inner = 4 * config.model.n_embd;
  if (const json* inner = reader.Find("n_inner"); inner != nullptr && !inner->is_null()) {
    reader.ReadInt(*inner, "n_inner", 1 << 20, &config.model.n_inner);
  }
  ReadActivation(reader, &config);
  ReadEpsilon(reader, &config.model);
  ReadEndOfText(reader, &config.model);
  reader.ReadBool("alibi", &config.model.alibi);
  reader.ReadBool("scale_attn_weights", &config.model.scale_attn_weights);
  reader.ReadBool("scale_attn_by_inverse_layer_idx", &config.model.scale_attn_by_inverse_layer_idx);
  reader.ReadBool("tie_word_embeddings", &config.tie_word_embeddings);
  CheckOthers(reader, object);
  if (!reader.status().ok()) return reader.status();
  return config;
}

absl::StatusOr<FolderOptions> ParseFolderOptions(std::string_view text, std::string_view file_name) {
  PRECIS_ASSIGN(const json object, ParseJsonObject(text, file_name));
  FolderOptions options;
  Reader reader(object, file_name);
  reader.ReadString("prompt_prefix", &options.prefix);
  reader.ReadString("prompt_suffix", &options.suffix);
  if (const json* context = reader.Find("context_tokens")) {
    reader.ReadInt(*context, "context_tokens", 1 << 26, &options.context_tokens);
  }
  for (const auto& [name, value] : object.items()) {
    if (name != "prompt_prefix" && name != "prompt_suffix" && name != "context_tokens") {
      reader.Fail(Cat("unknown key '", Printable(name), "'; known are prompt_prefix, prompt_suffix and context_tokens"));
    }
  }
  if (!reader.status().ok()) return reader.status();
  return options;
}

}  // namespace precis::runtime
