#ifndef PRECIS_RUNTIME_CACHE_PAGE_POOL_H_
#define PRECIS_RUNTIME_CACHE_PAGE_POOL_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "kernels/attention.h"

namespace precis::runtime {

// The pages of one checkpoint: who holds them, and which of them hold the keys and values of a known prefix.
//
// Every page is in exactly one state:
//   fresh    no memory behind it
//   free     has memory, holds nothing of use
//   live     held by at least one sequence (refs > 0); may be indexed as well
//   cached   held by none, but indexed as part of a prefix; in the LRU list
//
// The index maps (id of the parent page's entry, the page's tokens) to a page. Equality compares the tokens themselves and the parent's
// id, which is never reused, so by induction an entry stands for exactly one sequence of tokens: hashes that collide cost
// time, never correctness. The root's id names the variant, since deeper keys and values depend on it.
// Not thread-safe.
class PagePool {
 public:
  using Tokens = std::array<int32_t, kernels::kPageTokens>;
  static constexpr uint64_t kFirstEntryId = 1 << 20;  // below: roots

  // `hash_mask` is for tests, which make hashes collide with it.
  PagePool(int64_t pages, uint64_t hash_mask);

  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t live() const { return live_; }
  int64_t cached() const { return cached_; }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  // Pages with memory behind them.
  int64_t committed() const { return live_ + cached_ + free(); }
  int refs(int32_t page) const { return pages_[page].refs; }
  bool indexed(int32_t page) const { return pages_[page].entry != 0; }

  // fresh -> live, lowest index first. There must be one.
  int32_t TakeFresh();
  // free -> live. There must be one.
  int32_t TakeFree();
  // free -> fresh; returns the page, whose memory the caller gives back.
  int32_t DiscardFree();
  // The least recently used cached page leaves the index: cached -> free.
  void EvictOldest();
  // Stamp of the least recently used cached page; UINT64_MAX if there is none.
  uint64_t OldestStamp() const;

  // cached or live -> live, one more reference.
  void Acquire(int32_t page);
  // One reference less; the last one makes it cached (if indexed) or free. Stamps order the LRU list: never decreasing.
  void Release(int32_t page, uint64_t stamp);

  // The page that holds `tokens` after the prefix `parent`, or -1; *entry is its id.
  int32_t Find(uint64_t parent, absl::Span<const int32_t> tokens, uint64_t* entry) const;
  // Indexes a live page. If the same content is indexed already, that entry stays and its id is returned.
  uint64_t Insert(uint64_t parent, absl::Span<const int32_t> tokens, int32_t page);

  // Checks every invariant above; for tests. Empty if all hold.
  const char* Check() const;

 private:
  struct Key {
    uint64_t parent;
    Tokens tokens;
    bool operator==(const Key& other) const { return parent == other.parent && tokens == other.tokens; }
  };
  struct KeyHash {
    uint64_t mask;
    size_t operator()(const Key& key) const;
  };
  struct Page {
    int32_t refs = 0;
    int32_t previous = -1, next = -1;  // in the LRU list, while cached
    uint64_t stamp = 0;
    uint64_t entry = 0;  // 0: not indexed
    Key key;             // while indexed
  };

  void Append(int32_t page);
  void Unlink(int32_t page);

  std::vector<Page> pages_;
  std::vector<int32_t> free_;
  std::vector<int32_t> discarded_;  // fresh again; a heap, lowest first
  int32_t first_untouched_ = 0;     // fresh from here on
  int64_t live_ = 0, cached_ = 0;
  int32_t oldest_ = -1, newest_ = -1;
  uint64_t next_entry_ = kFirstEntryId;
  absl::flat_hash_map<Key, int32_t, KeyHash> index_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_CACHE_PAGE_POOL_H_
