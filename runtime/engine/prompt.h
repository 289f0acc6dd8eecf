#ifndef PRECIS_RUNTIME_ENGINE_PROMPT_H_
#define PRECIS_RUNTIME_ENGINE_PROMPT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/catalog.h"
#include "runtime/request.h"

namespace precis::runtime {

struct Prompt {
  std::vector<int32_t> tokens;
  int truncated_tokens = 0;
};

// The checkpoint's prefix, the document, its suffix; each is tokenised by itself, so that the template's tokens are always the same
// ones. Together with max_new_tokens it fits into the context: under kTruncate the document's last tokens are cut, under kReject
// INVALID_ARGUMENT says by how much it is too long. INVALID_ARGUMENT as well if the document is empty, or if max_new_tokens leaves it no room.
absl::StatusOr<Prompt> BuildPrompt(const Checkpoint& checkpoint, const Request& request);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_PROMPT_H_
