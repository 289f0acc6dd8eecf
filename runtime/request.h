#ifndef PRECIS_RUNTIME_REQUEST_H_
#define PRECIS_RUNTIME_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace precis::runtime {

// When a beam search ends before max_new_tokens; transformers' early_stopping.
enum class EarlyStopping : uint8_t {
  kFalse,  // when the best running beam, at its present length, can't beat the worst of num_beams finished ones
  kTrue,   // when num_beams are finished
  kNever,  // as kFalse, but with length_penalty > 0 the running beam is judged as if it grew to max_new_tokens
};

inline constexpr int kMaxBeams = 16;

// How tokens are chosen; the ranges are those of precis.v1.GenerationOptions and are checked by ValidateGenerationOptions.
struct GenerationOptions {
  int max_new_tokens = 128;
  int min_new_tokens = 0;
  float temperature = 0;  // 0 = greedy
  int top_k = 0;          // 0 = no limit
  float top_p = 1;
  uint64_t seed = 0;
  int no_repeat_ngram_size = 0;
  float repetition_penalty = 1;
  std::vector<std::string> stop_sequences;
  int num_beams = 1;         // above 1: beam search
  float length_penalty = 1;  // of beams: a summary's score is the sum of its log probabilities / length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::kFalse;  // of beams
};

absl::Status ValidateGenerationOptions(const GenerationOptions& options, int vocabulary_size,
                                       int context_tokens);

enum class TooLong : uint8_t { kTruncate, kReject, kChunk };
enum class Priority : uint8_t { kLow, kNormal, kHigh };
inline constexpr int kPriorities = 3;
std::string_view PriorityName(Priority priority);  // "low", "normal", "high"

enum class FinishReason : uint8_t { kEndOfText, kMaxNewTokens, kStopSequence };
std::string_view FinishReasonName(FinishReason reason);  // "end_of_text", ...

// Which experiment's arm a request belongs to; "none" where none applies. For telemetry labels only.
struct ArmLabels {
  std::string experiment = "none";
  std::string arm = "none";
};
// The experiment label of replays that no user waits for: telemetry must leave them out of what users see. No experiment can have this name.
inline constexpr std::string_view kShadowLabel = "(shadow)";

struct Request {
  std::string document;  // UTF-8
  std::string model;     // empty: the first that serves the backend
  std::string attention_backend;  // empty: the model's default
  GenerationOptions options;
  TooLong too_long = TooLong::kTruncate;
  Priority priority = Priority::kNormal;
  absl::Time deadline = absl::InfiniteFuture();
  ArmLabels labels;
  // Neither finds what earlier requests left in the prefix cache nor leaves anything that later ones find: for fair comparisons.
  bool fresh_cache = false;
  // Requests of different groups never share a step of the engine; groups take turns. 0: with all that name none.
  uint64_t batch_group = 0;
};

// What the request cost. Fields as precis.v1.Accounting, which says what they mean for a document that was summarised in pieces.
struct Accounting {
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int truncated_tokens = 0;
  int new_tokens = 0;
  absl::Duration queue;
  absl::Duration prefill;
  absl::Duration decode;
  absl::Duration time_to_first_token;
  absl::Duration total;
  int64_t kv_cache_peak_bytes = 0;
  double kv_block_seconds = 0;
  int64_t attention_workspace_peak_bytes = 0;
  int preemptions = 0;
  int64_t weights_bytes = 0;
  int chunks = 0;
  std::optional<double> energy_joules;  // absent where the device's power is not known
};

struct Result {
  std::string summary;  // whole UTF-8
  std::vector<int32_t> token_ids;
  FinishReason finish_reason = FinishReason::kEndOfText;
  std::string model;
  std::string attention_backend;
  std::string checkpoint;
  Accounting accounting;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_REQUEST_H_
