#include "server/conversion.h"

#include "kernels/attention.h"
#include "runtime/tokenizer.h"
#include "server/build_info.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kMaxUnitIdBytes = 256;
constexpr size_t kMaxClientRequestIdBytes = 128;

absl::Status CheckDocument(const std::string& document, int64_t limit) {
  if (document.empty()) return absl::InvalidArgumentError("document is empty; send at least one byte of UTF-8 text");
  if (static_cast<int64_t>(document.size()) > limit) {
    return absl::InvalidArgumentError(
        StrCat("document has ", document.size(), " bytes; this server takes at most ", limit,
                     " (--max-document-bytes); send less text"));
  }
  size_t offset = 0;
  if (runtime::IsValidUtf8(document, &offset)) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat("document is not UTF-8: the byte at offset ", offset,
                                                 " starts no valid character; convert the text to UTF-8"));
}

absl::Status CheckLength(std::string_view field, const std::string& value, size_t limit) {
  if (value.size() <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(field, " has ", value.size(), " bytes; at most ", limit, " are allowed"));
}

runtime::EarlyStopping ToRuntime(precis::v1::EarlyStopping early_stopping) {
  switch (early_stopping) {
    case precis::v1::EARLY_STOPPING_TRUE: return runtime::EarlyStopping::kTrue;
    case precis::v1::EARLY_STOPPING_NEVER: return runtime::EarlyStopping::kNever;
    default: return runtime::EarlyStopping::kFalse;
  }
}

runtime::GenerationOptions ToRuntime(const precis::v1::GenerationOptions& options) {
  runtime::GenerationOptions out;
  if (options.has_max_new_tokens()) out.max_new_tokens = options.max_new_tokens();
  if (options.has_min_new_tokens()) out.min_new_tokens = options.min_new_tokens();
  if (options.has_temperature()) out.temperature = options.temperature();
  if (options.has_top_k()) out.top_k = options.top_k();
  if (options.has_top_p()) out.top_p = options.top_p();
  if (options.has_seed()) out.seed = options.seed();
  if (options.has_no_repeat_ngram_size()) out.no_repeat_ngram_size = options.no_repeat_ngram_size();
  if (options.has_repetition_penalty()) out.repetition_penalty = options.repetition_penalty();
  if (options.has_num_beams()) out.num_beams = options.num_beams();
  if (options.has_length_penalty()) out.length_penalty = options.length_penalty();
  out.early_stopping = ToRuntime(options.early_stopping());
  out.stop_sequences.assign(options.stop_sequences().begin(), options.stop_sequences().end());
  return out;
}

runtime::TooLong ToRuntime(precis::v1::TooLong too_long) {
  switch (too_long) {
    case precis::v1::TOO_LONG_REJECT: return runtime::TooLong::kReject;
    case precis::v1::TOO_LONG_CHUNK: return runtime::TooLong::kChunk;
    default: return runtime::TooLong::kTruncate;
  }
}

runtime::Priority ToRuntime(precis::v1::Priority priority) {
  switch (priority) {
    case precis::v1::PRIORITY_LOW: return runtime::Priority::kLow;
    case precis::v1::PRIORITY_HIGH: return runtime::Priority::kHigh;
    default: return runtime::Priority::kNormal;
  }
}

precis::v1::FinishReason ToProto(runtime::FinishReason reason) {
  switch (reason) {
    case runtime::FinishReason::kEndOfText: return precis::v1::FINISH_REASON_END_OF_TEXT;
    case runtime::FinishReason::kMaxNewTokens: return precis::v1::FINISH_REASON_MAX_NEW_TOKENS;
    case runtime::FinishReason::kStopSequence: return precis::v1::FINISH_REASON_STOP_SEQUENCE;
  }
  return precis::v1::FINISH_REASON_UNSPECIFIED;
}

void FillAccounting(const runtime::Accounting& from, precis::v1::Accounting* to) {
  to->set_prompt_tokens(from.prompt_tokens);
  to->set_cached_tokens(from.cached_tokens);
  to->set_truncated_tokens(from.truncated_tokens);
  to->set_new_tokens(from.new_tokens);
  to->set_queue_seconds(absl::ToDoubleSeconds(from.queue));
  to->set_prefill_seconds(absl::ToDoubleSeconds(from.prefill));
  to->set_decode_seconds(absl::ToDoubleSeconds(from.decode));
  to->set_time_to_first_token_seconds(absl::ToDoubleSeconds(from.time_to_first_token));
  to->set_total_seconds(absl::ToDoubleSeconds(from.total));
  to->set_kv_cache_peak_bytes(from.kv_cache_peak_bytes);
  to->set_kv_block_seconds(from.kv_block_seconds);
  to->set_attention_workspace_peak_bytes(from.attention_workspace_peak_bytes);
  to->set_preemptions(from.preemptions);
  to->set_weights_bytes(from.weights_bytes);
  to->set_chunks(from.chunks);
  if (from.energy_joules.has_value()) to->set_energy_joules(*from.energy_joules);
}

void FillCheckpoint(const runtime::Checkpoint& from, precis::v1::Checkpoint* to) {
  const runtime::ModelRunner& runner = *from.runner;
  const runtime::ModelConfig& config = runner.config();
  to->set_name(from.name);
  to->set_positions(std::string(
      kernels::PositionsName(config.alibi ? kernels::Positions::kAlibi : kernels::Positions::kLearned)));
  to->set_weights_dtype(std::string(kernels::DTypeName(runner.weights_dtype())));
  to->set_context_tokens(runner.context_tokens());
  to->set_parameters(runner.parameters());
  to->set_weights_bytes(runner.weights_bytes());
  to->set_layers(config.n_layer);
  to->set_heads(config.n_head);
  to->set_embedding_size(config.n_embd);
  to->set_vocabulary_size(config.vocab_size);
  for (const kernels::AttentionVariant* variant : from.variants) {
    to->add_attention_backends(std::string(variant->name));
  }
}

bool Serves(const runtime::Model& model, const kernels::AttentionVariant& variant) {
  for (const auto& checkpoint : model.checkpoints) {
    for (const kernels::AttentionVariant* served : checkpoint->variants) {
      if (served->name == variant.name) return true;
    }
  }
  return false;
}

}  // namespace

absl::Status ValidateRequest(const precis::v1::SummarizeRequest& request, int64_t max_document_bytes) {
  if (absl::Status s = CheckDocument(request.document(), max_document_bytes); !s.ok()) return s;
  if (absl::Status s = CheckLength("unit_id", request.unit_id(), kMaxUnitIdBytes); !s.ok()) return s;
  absl::Status s = CheckLength("client_request_id", request.client_request_id(), kMaxClientRequestIdBytes);
  if (!s.ok()) return s;
  if (!precis::v1::TooLong_IsValid(request.too_long())) {
    return absl::InvalidArgumentError(StrCat(
        "too_long is ", static_cast<int>(request.too_long()), "; TOO_LONG_TRUNCATE (1), _REJECT (2) and _CHUNK (3) exist"));
  }
  if (!precis::v1::Priority_IsValid(request.priority())) {
    return absl::InvalidArgumentError(StrCat("priority is ", static_cast<int>(request.priority()),
                                                   "; PRIORITY_LOW (1), _NORMAL (2) and _HIGH (3) exist"));
  }
  if (!precis::v1::EarlyStopping_IsValid(request.options().early_stopping())) {
    return absl::InvalidArgumentError(StrCat("early_stopping is ", static_cast<int>(request.options().early_stopping()),
                                                   "; EARLY_STOPPING_FALSE (1), _TRUE (2) and _NEVER (3) exist"));
  }
  return absl::OkStatus();
}

runtime::Request ToRuntimeRequest(const precis::v1::SummarizeRequest& request) {
  runtime::Request out;
  out.document = request.document();
  out.model = request.model();
  out.attention_backend = request.attention_backend();
  out.options = ToRuntime(request.options());
  out.too_long = ToRuntime(request.too_long());
  out.priority = ToRuntime(request.priority());
  return out;
}

void FillResponse(const runtime::Result& result, const precis::v1::SummarizeRequest& request,
                  precis::v1::SummarizeResponse* response) {
  response->set_summary(result.summary);
  if (request.return_token_ids()) {
    response->mutable_token_ids()->Add(result.token_ids.begin(), result.token_ids.end());
  }
  response->set_finish_reason(ToProto(result.finish_reason));
  response->set_model(result.model);
  response->set_attention_backend(result.attention_backend);
  response->set_checkpoint(result.checkpoint);
  FillAccounting(result.accounting, response->mutable_accounting());
  response->set_client_request_id(request.client_request_id());
}

void FillModels(const runtime::Catalog& catalog, precis::v1::ListModelsResponse* response) {
  for (const auto& model : catalog.models()) {
    precis::v1::Model* out = response->add_models();
    out->set_name(model->name);
    if (model->default_variant != nullptr) {
      out->set_default_attention_backend(std::string(model->default_variant->name));
    }
    for (const auto& checkpoint : model->checkpoints) FillCheckpoint(*checkpoint, out->add_checkpoints());
  }
}

void FillBackends(const runtime::Catalog& catalog, precis::v1::ListBackendsResponse* response) {
  for (const kernels::AttentionVariant& variant : kernels::AttentionVariants()) {
    precis::v1::AttentionBackend* out = response->add_backends();
    out->set_name(std::string(variant.name));
    out->set_description(std::string(variant.description));
    out->set_positions(std::string(kernels::PositionsName(variant.positions)));
    out->set_algorithm(std::string(kernels::AlgorithmName(variant.algorithm)));
    for (const auto& model : catalog.models()) {
      if (Serves(*model, variant)) out->add_models(model->name);
    }
  }
  response->set_device("cpu");
  response->set_server_build(StrCat(std::string(Version()), " ", std::string(Commit())));
  if (!catalog.all_checkpoints().empty()) {
    response->set_device(std::string(catalog.all_checkpoints()[0]->runner->device()));
  }
}

precis::v1::AssignmentReason ToProto(AssignmentReason reason) {
  switch (reason) {
    case AssignmentReason::kNone: return precis::v1::ASSIGNMENT_REASON_NONE;
    case AssignmentReason::kAssigned: return precis::v1::ASSIGNMENT_REASON_ASSIGNED;
    case AssignmentReason::kForced: return precis::v1::ASSIGNMENT_REASON_FORCED;
    case AssignmentReason::kFallback: return precis::v1::ASSIGNMENT_REASON_FALLBACK;
    case AssignmentReason::kStopped: return precis::v1::ASSIGNMENT_REASON_STOPPED;
    case AssignmentReason::kWashout: return precis::v1::ASSIGNMENT_REASON_WASHOUT;
  }
  return precis::v1::ASSIGNMENT_REASON_UNSPECIFIED;
}

}  // namespace precis::server
