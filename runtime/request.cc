#include "runtime/request.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/telemetry.h"

namespace precis::runtime {
namespace {

constexpr int kMaxStopSequences = 8;
constexpr size_t kMaxStopSequenceBytes = 256;
constexpr int kMaxNgramSize = 16;
constexpr float kMaxTemperature = 100;
constexpr float kMaxRepetitionPenalty = 10;
constexpr float kMaxLengthPenalty = 10;

template <typename T>
absl::Status OutOfRange(const std::string& name, T given, const std::string& allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", given, "; allowed: ", allowed, "."));
}

absl::Status ValidateStopSequences(const std::vector<std::string>& sequences) {
  if (sequences.size() > kMaxStopSequences) {
    return OutOfRange("The number of stop_sequences", sequences.size(),
                      absl::StrCat("at most ", kMaxStopSequences));
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].empty() || sequences[i].size() > kMaxStopSequenceBytes) {
      return OutOfRange(absl::StrCat("The length of stop_sequences[", i, "]"), sequences[i].size(),
                        absl::StrCat("1 to ", kMaxStopSequenceBytes, " bytes"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateBeams(const GenerationOptions& options) {
  if (options.num_beams < 1 || options.num_beams > kMaxBeams) {
    return OutOfRange("num_beams", options.num_beams, absl::StrCat("1 (no beam search) to ", kMaxBeams));
  }
  if (!(std::fabs(options.length_penalty) <= kMaxLengthPenalty)) {
    return OutOfRange("length_penalty", options.length_penalty,
                      absl::StrCat(-kMaxLengthPenalty, " to ", kMaxLengthPenalty, "; above 0 favours long summaries"));
  }
  if (options.num_beams == 1) return absl::OkStatus();
  if (options.temperature > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_beams is ", options.num_beams, " and temperature ", options.temperature,
        "; a beam search doesn't sample. Set temperature to 0, or num_beams to 1."));
  }
  if (!options.stop_sequences.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_beams is ", options.num_beams, " and there are stop_sequences, which a beam search doesn't know. "
        "Drop them, or set num_beams to 1."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateGenerationOptions(const GenerationOptions& options, int vocabulary_size,
                                       int context_tokens) {
  if (options.max_new_tokens < 1 || options.max_new_tokens > context_tokens) {
    return OutOfRange("max_new_tokens", options.max_new_tokens,
                      absl::StrCat("1 to the model's context, ", context_tokens));
  }
  if (options.min_new_tokens < 0 || options.min_new_tokens > options.max_new_tokens) {
    return OutOfRange("min_new_tokens", options.min_new_tokens,
                      absl::StrCat("0 to max_new_tokens, ", options.max_new_tokens));
  }
  if (!(options.temperature >= 0 && options.temperature <= kMaxTemperature)) {
    return OutOfRange("temperature", options.temperature,
                      absl::StrCat("0 (greedy) to ", kMaxTemperature));
  }
  if (options.top_k < 0 || options.top_k > vocabulary_size) {
    return OutOfRange("top_k", options.top_k,
                      absl::StrCat("0 (no limit) to the vocabulary's size, ", vocabulary_size));
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return OutOfRange("top_p", options.top_p, "more than 0, at most 1 (no limit)");
  }
  if (options.no_repeat_ngram_size < 0 || options.no_repeat_ngram_size > kMaxNgramSize) {
    return OutOfRange("no_repeat_ngram_size", options.no_repeat_ngram_size,
                      absl::StrCat("0 (off) to ", kMaxNgramSize));
  }
  if (!(options.repetition_penalty > 0 && options.repetition_penalty <= kMaxRepetitionPenalty)) {
    return OutOfRange("repetition_penalty", options.repetition_penalty,
                      absl::StrCat("more than 0, at most ", kMaxRepetitionPenalty, "; 1 is off"));
  }
  absl::Status status = ValidateStopSequences(options.stop_sequences);
  return status.ok() ? ValidateBeams(options) : status;
}

std::string_view PriorityName(Priority priority) {
  switch (priority) {
    case Priority::kLow: return "low";
    case Priority::kNormal: return "normal";
    case Priority::kHigh: return "high";
  }
  return "unknown";
}

std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfText: return "end_of_text";
    case FinishReason::kMaxNewTokens: return "max_new_tokens";
    case FinishReason::kStopSequence: return "stop_sequence";
  }
  return "unknown";
}

std::string_view RejectReasonName(RejectReason reason) {
  switch (reason) {
    case RejectReason::kQueueFull: return "queue_full";
    case RejectReason::kQueueTokens: return "queue_tokens";
    case RejectReason::kDeadline: return "deadline";
    case RejectReason::kDraining: return "draining";
    case RejectReason::kMemory: return "memory";
  }
  return "unknown";
}

}  // namespace precis::runtime
