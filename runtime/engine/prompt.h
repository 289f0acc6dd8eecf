#ifndef PRECIS_RUNTIME_ENGINE_PROMPT_H_
#define PRECIS_RUNTIME_ENGINE_PROMPT_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/catalog.h"
#include "runtime/request.h"

namespace precis::runtime {

struct Prompt {
  std::vector<int32_t> tokens;
  int truncated_tokens = 0;
};

// Pieces of a document (TooLong::kChunk) have room for this many times max_new_tokens at least, so that summaries of summaries become short quickly.
inline constexpr int kChunkRatio = 4;

// The checkpoint's prefix, the document, its suffix; each is tokenised by itself, so that the template's tokens are always the same
// ones. Together with max_new_tokens it fits into the context: under kTruncate the document's last tokens are cut, under kReject
// INVALID_ARGUMENT says by how much it is too long, under kChunk there are several prompts, of consecutive pieces of the document (SplitDocument).
// INVALID_ARGUMENT as well if the document is empty, or if max_new_tokens leaves it no room, or no room for pieces of kChunkRatio * max_new_tokens.
absl::StatusOr<std::vector<Prompt>> BuildPrompts(const Checkpoint& checkpoint, std::string_view document, int max_new_tokens,
                                                 TooLong too_long);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_PROMPT_H_
