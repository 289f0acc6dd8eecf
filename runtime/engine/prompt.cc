#include "runtime/engine/prompt.h"

#include "absl/strings/str_cat.h"
#include "runtime/engine/split_document.h"

namespace precis::runtime {
namespace {

// The prompt's template and what it leaves free.
struct Frame {
  Frame(const Checkpoint& checkpoint, int max_new_tokens)
      : prefix(checkpoint.tokenizer->Encode(checkpoint.prompt_prefix)),
        suffix(checkpoint.tokenizer->Encode(checkpoint.prompt_suffix)),
        tokens(static_cast<int64_t>(prefix.size() + suffix.size())),
        room(checkpoint.runner->context_tokens() - max_new_tokens - tokens) {}

  Prompt Around(absl::Span<const int32_t> document) const {
    Prompt prompt;
    prompt.tokens.reserve(tokens + document.size());
    for (const absl::Span<const int32_t> part : {absl::MakeConstSpan(prefix), document, absl::MakeConstSpan(suffix)}) {
      prompt.tokens.insert(prompt.tokens.end(), part.begin(), part.end());
    }
    return prompt;
  }

  const std::vector<int32_t> prefix, suffix;
  const int64_t tokens;
  const int64_t room;  // for the document
};

absl::Status DoesNotFit(const Checkpoint& checkpoint, const Frame& frame, int64_t length, int max_new_tokens) {
  return absl::InvalidArgumentError(
      absl::StrCat("The document has ", length, " tokens; with ", max_new_tokens, " new tokens, ", frame.tokens,
                   " of the template and a context of ", checkpoint.runner->context_tokens(), " at most ", frame.room,
                   " fit. Shorten it, lower max_new_tokens, or ask for truncation or chunks."));
}

absl::StatusOr<std::vector<Prompt>> BuildPieces(const Checkpoint& checkpoint, const Frame& frame, std::string_view document,
                                                int max_new_tokens) {
  const int64_t most = (checkpoint.runner->context_tokens() - frame.tokens) / (kChunkRatio + 1);
  if (max_new_tokens > most) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", max_new_tokens, ", and the document must be summarised in pieces, which have to be ", kChunkRatio,
        " times as long: the context of checkpoint ", checkpoint.name, " is ", checkpoint.runner->context_tokens(),
        " tokens and the prompt's template takes ", frame.tokens, ". Ask for at most ", most, " new tokens, or for truncation."));
  }
  std::vector<Prompt> prompts;
  for (const auto& piece : SplitDocument(*checkpoint.tokenizer, document, static_cast<int>(frame.room))) {
    prompts.push_back(frame.Around(piece));
  }
  return prompts;
}

}  // namespace

absl::StatusOr<std::vector<Prompt>> BuildPrompts(const Checkpoint& checkpoint, std::string_view document, int max_new_tokens,
                                                 TooLong too_long) {
  const Frame frame(checkpoint, max_new_tokens);
  if (frame.room < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", max_new_tokens, ", which leaves no room for the document: the context of checkpoint ",
        checkpoint.name, " is ", checkpoint.runner->context_tokens(), " tokens and the prompt's template takes ", frame.tokens,
        ". Ask for at most ", checkpoint.runner->context_tokens() - frame.tokens - 1, " new tokens."));
  }
  const std::vector<int32_t> tokens = checkpoint.tokenizer->Encode(document);
  const int64_t length = static_cast<int64_t>(tokens.size());
  if (length == 0) return absl::InvalidArgumentError("The document is empty; send text to summarise.");
  if (length > frame.room && too_long == TooLong::kReject) return DoesNotFit(checkpoint, frame, length, max_new_tokens);
  if (length > frame.room && too_long == TooLong::kChunk) return BuildPieces(checkpoint, frame, document, max_new_tokens);
  const int64_t kept = std::min(length, frame.room);
  std::vector<Prompt> prompts = {frame.Around(absl::MakeConstSpan(tokens).first(kept))};
  prompts[0].truncated_tokens = static_cast<int>(length - kept);
  return prompts;
}

}  // namespace precis::runtime
