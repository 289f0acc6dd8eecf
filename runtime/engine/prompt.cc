#include "runtime/engine/prompt.h"

#include "absl/strings/str_cat.h"

namespace precis::runtime {

absl::StatusOr<Prompt> BuildPrompt(const Checkpoint& checkpoint, const Request& request) {
  const int context = checkpoint.runner->context_tokens();
  const int max_new = request.options.max_new_tokens;
  const std::vector<int32_t> prefix = checkpoint.tokenizer->Encode(checkpoint.prompt_prefix);
  const std::vector<int32_t> suffix = checkpoint.tokenizer->Encode(checkpoint.prompt_suffix);
  const int64_t frame = static_cast<int64_t>(prefix.size() + suffix.size());
  const int64_t room = context - max_new - frame;
  if (room < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", max_new, ", which leaves no room for the document: the context of checkpoint ",
        checkpoint.name, " is ", context, " tokens and the prompt's template takes ", frame,
        ". Ask for at most ", context - frame - 1, " new tokens."));
  }
  const std::vector<int32_t> document = checkpoint.tokenizer->Encode(request.document);
  if (document.empty()) return absl::InvalidArgumentError("The document is empty; send text to summarise.");
  const int64_t length = static_cast<int64_t>(document.size());
  if (length > room && request.too_long == TooLong::kReject) {
    return absl::InvalidArgumentError(
        absl::StrCat("The document has ", length, " tokens; with ", max_new, " new tokens, ", frame,
                     " of the template and a context of ", context, " at most ", room,
                     " fit. Shorten it, lower max_new_tokens, or ask for truncation."));
  }
  Prompt prompt;
  const int64_t kept = std::min(length, room);
  prompt.truncated_tokens = static_cast<int>(length - kept);
  prompt.tokens.reserve(frame + kept);
  prompt.tokens.insert(prompt.tokens.end(), prefix.begin(), prefix.end());
  prompt.tokens.insert(prompt.tokens.end(), document.begin(), document.begin() + kept);
  prompt.tokens.insert(prompt.tokens.end(), suffix.begin(), suffix.end());
  return prompt;
}

}  // namespace precis::runtime
