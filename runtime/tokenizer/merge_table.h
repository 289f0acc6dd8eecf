#ifndef PRECIS_RUNTIME_TOKENIZER_MERGE_TABLE_H_
#define PRECIS_RUNTIME_TOKENIZER_MERGE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace precis::runtime {

// What becomes of a pair of neighbouring tokens. Lower ranks merge first.
struct Merge {
  static constexpr uint32_t kNoRank = UINT32_MAX;
  uint32_t rank = kNoRank;  // kNoRank: the pair doesn't merge
  int32_t id = -1;          // the token that replaces the pair
};

// A flat hash table from pairs of token ids to merges: open addressing, at most half full, 16 bytes a slot.
// Const methods are thread-safe.
class MergeTable {
 public:
  // Room for `count` pairs.
  explicit MergeTable(size_t count);

  // Adds a pair (both ids >= 0), or replaces what it became, as a later line of merges.txt does.
  void Insert(int32_t left, int32_t right, Merge merge);

  // All ranks are below.
  uint32_t rank_limit() const { return rank_limit_; }

  Merge Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    size_t slot = Hash(key);
    while (slots_[slot].key != key) {
      if (slots_[slot].key == kEmpty) return Merge();
      slot = (slot + 1) & mask_;
    }
    return slots_[slot].merge;
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;  // no key, since ids are not negative
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };

  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t Hash(uint64_t key) const {
    key ^= key >> 32;
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
  }

  std::vector<Slot> slots_;
  uint32_t rank_limit_ = 0;
  size_t mask_;
  int shift_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_MERGE_TABLE_H_
