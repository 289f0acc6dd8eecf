#ifndef PRECIS_RUNTIME_SCHEDULER_SEQUENCE_H_
#define PRECIS_RUNTIME_SCHEDULER_SEQUENCE_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "runtime/cache/kv_cache.h"
#include "runtime/request.h"

namespace precis::runtime {

using SequenceId = uint64_t;

// What the scheduler must know of a request.
struct SequenceSpec {
  int pool = 0;     // the checkpoint
  int variant = 0;  // of attention: keys and values are shared among sequences of one variant only
  std::vector<int32_t> prompt;
  int max_new_tokens = 1;
  Priority priority = Priority::kNormal;
  absl::Time deadline = absl::InfiniteFuture();
};

// A request in the scheduler. Its known tokens are the prompt's and then the generated ones; `computed` of them have their keys and
// values in `pages`. Computing the last known token gives the next one.
struct Sequence {
  SequenceId id = 0;  // in order of arrival
  SequenceSpec spec;
  std::vector<int32_t> generated;
  std::vector<int32_t> pages;
  int computed = 0;
  PrefixCursor prefix;
  bool running = false;

  absl::Time submitted;
  absl::Time admitted = absl::InfiniteFuture();   // first time
  absl::Time cancelled = absl::InfiniteFuture();  // when Cancel was called
  int cached_tokens = 0;                          // at the first admission
  int preemptions = 0;
  int64_t peak_pages = 0;
  double page_seconds = 0;  // up to pages_since
  absl::Time pages_since;

  int prompt_tokens() const { return static_cast<int>(spec.prompt.size()); }
  int known_tokens() const { return prompt_tokens() + static_cast<int>(generated.size()); }
  bool prefilling() const { return computed < prompt_tokens(); }
  // Tokens that were generated before a preemption have to be run again.
  bool replaying() const { return !prefilling() && known_tokens() - computed > 1; }
  bool decoding() const { return !prefilling() && known_tokens() - computed == 1; }
  // The most pages that it can ever hold.
  int64_t most_pages() const { return PagesFor(int64_t{prompt_tokens()} + spec.max_new_tokens); }
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SCHEDULER_SEQUENCE_H_
