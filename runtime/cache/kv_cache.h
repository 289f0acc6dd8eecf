#ifndef PRECIS_RUNTIME_CACHE_KV_CACHE_H_
#define PRECIS_RUNTIME_CACHE_KV_CACHE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "runtime/cache/page_pool.h"

namespace precis::runtime {

// Pages that hold `tokens` tokens.
inline int64_t PagesFor(int64_t tokens) { return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens; }

// How far a sequence's pages are known to the prefix index.
struct PrefixCursor {
  int pages = 0;       // the first pages are indexed, or equal to indexed ones
  uint64_t entry = 0;  // id of the last of them; the root's if there are none
};

// Where the pages of all checkpoints ("pools") come from. One byte budget for all: pages that have memory behind them never
// exceed it. What no sequence holds is taken when somebody needs it: free pages first, then cached prefixes, least
// recently used first, whichever pool they are in.
// Knows nothing of time, threads or real memory; not thread-safe.
class KvCache {
 public:
  struct Options {
    int64_t budget_bytes = 0;
    bool prefix_cache = true;
    // The memory of a page is to be given back to the operating system.
    std::function<void(int pool, int32_t page)> discard;
    uint64_t hash_mask = ~uint64_t{0};  // for tests
  };
  KvCache(std::vector<int64_t> page_bytes, Options options);

  int pools() const { return static_cast<int>(pools_.size()); }
  int64_t page_bytes(int pool) const { return page_bytes_[pool]; }
  int64_t pages(int pool) const { return pools_[pool].pages(); }
  int64_t budget_bytes() const { return options_.budget_bytes; }
  int64_t live_bytes() const { return live_bytes_; }  // held by sequences
  int64_t live_peak_bytes() const { return live_peak_bytes_; }
  int64_t committed_bytes() const;                    // with memory behind them
  int64_t available_bytes() const { return options_.budget_bytes - live_bytes_; }
  const PagePool& pool(int pool) const { return pools_[pool]; }

  // Appends to *table the pages of the longest indexed prefix of `tokens`, at most `max_pages`, and takes references to them.
  PrefixCursor Match(int pool, int variant, absl::Span<const int32_t> tokens, int max_pages,
                     std::vector<int32_t>* table);
  // Appends `count` pages with nothing in them. All or nothing.
  bool Grow(int pool, int64_t count, std::vector<int32_t>* table);
  // Drops the references of a sequence and empties the table.
  void Release(int pool, std::vector<int32_t>* table);
  // Indexes pages [cursor->pages, end) of the table, which hold the keys and values of tokens[0, end * kPageTokens).
  void Publish(int pool, int variant, absl::Span<const int32_t> tokens, const std::vector<int32_t>& table, int end,
               PrefixCursor* cursor);

  // For beams: another branch holds the same pages.
  std::vector<int32_t> Fork(int pool, absl::Span<const int32_t> table);
  // Before writing to table[index]: if others hold that page or it is indexed, puts a new page in its place; then *from is the page whose
  // content is to be copied into it, else -1. False if there is no memory.
  bool MakeWritable(int pool, int index, std::vector<int32_t>* table, int32_t* from);

  // Pages that would become free or cached if these references were dropped. A page may be among them several times.
  int64_t Exclusive(int pool, std::vector<int32_t> references) const;

  // Checks the invariants; for tests. Null if all hold.
  const char* Check() const;

 private:
  int32_t Allocate(int pool);
  bool DiscardOneFree();
  void EvictOldest();

  const std::vector<int64_t> page_bytes_;
  const Options options_;
  std::vector<PagePool> pools_;
  int64_t live_bytes_ = 0;
  int64_t live_peak_bytes_ = 0;
  uint64_t stamp_ = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_CACHE_KV_CACHE_H_
