#ifndef PRECIS_RUNTIME_TOKENIZER_RANK_QUEUE_H_
#define PRECIS_RUNTIME_TOKENIZER_RANK_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace precis::runtime {

// A pair that may merge: the position of its left token, and the rank of the merge.
struct RankedPosition {
  uint32_t rank;
  int32_t position;  // >= 0
};

// The pairs of a word by rank, then by position. For a very long word it keeps a list for each rank and walks through
// the ranks upwards, which takes constant time a pair and reads memory in order: where a trained table of merges makes
// a new pair, its rank is above that of the merge that made it. Otherwise, and as soon as a table breaks this rule, it
// is a binary heap.
class RankQueue {
 public:
  // For about `size` pairs of ranks under `rank_limit`.
  RankQueue(size_t size, uint32_t rank_limit);

  void Push(RankedPosition pair);
  // Takes the first pair; false if there is none.
  bool Pop(RankedPosition* pair);

 private:
  struct Entry {
    int32_t position;
    int32_t next;  // of the same rank; the last one points back at the first
  };

  bool has_lists() const { return !last_.empty(); }
  void Append(RankedPosition pair);
  bool NextBatch();
  void TakeBatch(uint32_t rank);
  void TurnIntoHeap();

  std::vector<int32_t> last_;   // of each rank's list, an index into entries_; -1 where it is empty
  std::vector<Entry> entries_;
  std::vector<int32_t> batch_;  // positions of the rank that is walked through, ascending
  size_t batch_taken_ = 0;
  int64_t batch_rank_ = -1;
  std::vector<uint64_t> heap_;  // rank << 32 | position
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_RANK_QUEUE_H_
