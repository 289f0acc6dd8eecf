#include "runtime/tokenizer/bpe.h"

#include <algorithm>

#include "runtime/tokenizer/rank_queue.h"

namespace precis::runtime {
namespace {

// Up to this many bytes, looking at every pair before each merge is faster than keeping a queue.
constexpr size_t kShortWord = 40;

// A token of a short word, and what it and the next one merge to.
struct ShortPart {
  int32_t id;
  Merge merge;
};

void AppendShort(const MergeTable& merges, const ByteTokens& byte_tokens, std::string_view word,
                 std::vector<int32_t>* ids) {
  ShortPart parts[kShortWord];
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) parts[i].id = byte_tokens[static_cast<unsigned char>(word[i])];
  for (size_t i = 0; i + 1 < count; ++i) parts[i].merge = merges.Find(parts[i].id, parts[i + 1].id);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (parts[i].merge.rank < parts[best].merge.rank) best = i;
    }
    if (parts[best].merge.rank == Merge::kNoRank) break;
    parts[best].id = parts[best].merge.id;
    std::copy(parts + best + 2, parts + count, parts + best + 1);
    --count;
    parts[best].merge = best + 1 < count ? merges.Find(parts[best].id, parts[best + 1].id) : Merge();
    if (best > 0) parts[best - 1].merge = merges.Find(parts[best - 1].id, parts[best].id);
  }
  for (size_t i = 0; i < count; ++i) ids->push_back(parts[i].id);
}

// The tokens of a long word as a doubly linked list over the positions of their first bytes, and a queue of the
// pairs that merge. A pair in the queue whose rank is no longer that of the pair at its position is stale.
class LongWord {
 public:
  LongWord(const MergeTable& merges, const ByteTokens& byte_tokens, std::string_view word)
      : merges_(merges), parts_(word.size()), queue_(word.size(), merges.rank_limit()) {
    const auto count = static_cast<int32_t>(word.size());
    for (int32_t i = 0; i < count; ++i) {
      parts_[i] = {byte_tokens[static_cast<unsigned char>(word[i])], i - 1, i + 1 < count ? i + 1 : -1, Merge()};
    }
    for (int32_t i = 0; i + 1 < count; ++i) Update(i);
  }

  void MergeAll() {
    RankedPosition pair;
    while (queue_.Pop(&pair)) {
      if (parts_[pair.position].merge.rank == pair.rank) MergeAt(pair.position);
    }
  }

  void AppendTo(std::vector<int32_t>* ids) const {
    for (int32_t i = 0; i >= 0; i = parts_[i].next) ids->push_back(parts_[i].id);
  }

 private:
  struct Part {
    int32_t id;
    int32_t previous;  // -1 at the ends
    int32_t next;
    Merge merge;  // of this token and the next; no rank once another token has swallowed this one
  };

  void MergeAt(int32_t position) {
    Part& part = parts_[position];
    Part& swallowed = parts_[part.next];
    part.id = part.merge.id;
    part.next = swallowed.next;
    swallowed.merge = Merge();
    if (part.next >= 0) parts_[part.next].previous = position;
    Update(position);
    if (part.previous >= 0) Update(part.previous);
  }

  void Update(int32_t position) {
    Part& part = parts_[position];
    part.merge = part.next >= 0 ? merges_.Find(part.id, parts_[part.next].id) : Merge();
    if (part.merge.rank != Merge::kNoRank) queue_.Push({part.merge.rank, position});
  }

  const MergeTable& merges_;
  std::vector<Part> parts_;
  RankQueue queue_;
};

}  // namespace

void AppendWordTokens(const MergeTable& merges, const ByteTokens& byte_tokens, std::string_view word,
                      std::vector<int32_t>* ids) {
  if (word.size() <= kShortWord) return AppendShort(merges, byte_tokens, word, ids);
  LongWord long_word(merges, byte_tokens, word);
  long_word.MergeAll();
  long_word.AppendTo(ids);
}

}  // namespace precis::runtime
