#ifndef PRECIS_RUNTIME_SCHEDULER_SEQUENCE_H_
#define PRECIS_RUNTIME_SCHEDULER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "runtime/cache/kv_cache.h"
#include "runtime/request.h"

namespace precis::runtime {

using SequenceId = uint64_t;

// Pages for `tokens` tokens of each of so many branches, which share the prompt's full pages and nothing else.
inline int64_t PagesForBranches(int64_t prompt_tokens, int64_t tokens, int branches) {
  const int64_t shared = branches > 1 ? prompt_tokens / kernels::kPageTokens : 0;
  return shared + branches * (PagesFor(tokens) - shared);
}

// What the scheduler must know of a request.
struct SequenceSpec {
  int pool = 0;     // the checkpoint
  int variant = 0;  // of attention: keys and values are shared among sequences of one variant only
  std::vector<int32_t> prompt;
  int max_new_tokens = 1;
  int beams = 1;  // above 1: after the prompt the sequence goes on as so many branches
  Priority priority = Priority::kNormal;
  absl::Time deadline = absl::InfiniteFuture();
  uint64_t batch_group = 0;  // rows of different groups never share a step
  bool accepted = false;  // part of a request that was accepted: the queue's bounds don't apply to it, and it doesn't count in them
};

// One continuation of a prompt. Its known tokens are the prompt's and then the generated ones; `computed` of them have their keys and
// values in `pages`. Computing the last known token gives the next one.
struct Branch {
  std::vector<int32_t> generated;
  std::vector<int32_t> pages;
  int computed = 0;
  // After a preemption: the first page of its own begins with the prompt's last tokens, which are still to be copied from the trunk's.
  bool tail_missing = false;
};

// A request in the scheduler. As a Branch it is the trunk, which runs the prompt. With beams it has as many branches after the prompt's last
// token (the trunk is the first), all of the same length: they decode in lockstep.
struct Sequence : Branch {
  SequenceId id = 0;  // in order of arrival
  SequenceSpec spec;
  std::vector<Branch> beams;  // besides the trunk
  PrefixCursor prefix;
  bool running = false;

  absl::Time submitted;
  absl::Time admitted = absl::InfiniteFuture();   // first time
  absl::Time cancelled = absl::InfiniteFuture();  // when Cancel was called
  int cached_tokens = 0;                          // at the first admission
  int preemptions = 0;
  int64_t held_pages = 0;  // of all branches; one that several of them share counts once
  int64_t peak_pages = 0;
  double page_seconds = 0;  // up to pages_since
  absl::Time pages_since;

  int prompt_tokens() const { return static_cast<int>(spec.prompt.size()); }
  int known_tokens() const { return prompt_tokens() + static_cast<int>(generated.size()); }
  bool prefilling() const { return computed < prompt_tokens(); }
  // Every branch waits for its next token; otherwise, after the prompt, tokens that were generated before a preemption have to be run again.
  bool decoding() const {
    const auto ready = [this](const Branch& branch) { return known_tokens() - branch.computed == 1; };
    return !prefilling() && ready(*this) && std::all_of(beams.begin(), beams.end(), ready);
  }
  int branches() const { return 1 + static_cast<int>(beams.size()); }
  Branch& branch(int index) { return index == 0 ? *this : beams[index - 1]; }
  const Branch& branch(int index) const { return index == 0 ? *this : beams[index - 1]; }
  // To be admitted as it is now.
  int64_t needed_pages() const { return PagesForBranches(prompt_tokens(), known_tokens(), branches()); }
  // The most pages that it can ever hold.
  int64_t most_pages() const {
    return PagesForBranches(prompt_tokens(), int64_t{prompt_tokens()} + spec.max_new_tokens, spec.beams);
  }
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SCHEDULER_SEQUENCE_H_
