#include "runtime/cache/kv_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace precis::runtime {
namespace {

using kernels::kPageTokens;

absl::Span<const int32_t> PageOf(absl::Span<const int32_t> tokens, int page) {
  return tokens.subspan(static_cast<size_t>(page) * kPageTokens, kPageTokens);
}

uint64_t Root(int variant) { return static_cast<uint64_t>(variant) + 1; }

}  // namespace

KvCache::KvCache(std::vector<int64_t> page_bytes, Options options)
    : page_bytes_(std::move(page_bytes)), options_(std::move(options)) {
  for (int64_t bytes : page_bytes_) {
    const int64_t pages =
        std::min<int64_t>(options_.budget_bytes / bytes, std::numeric_limits<int32_t>::max());
    pools_.emplace_back(pages, options_.hash_mask);
  }
}

int64_t KvCache::committed_bytes() const {
  int64_t bytes = 0;
  for (size_t i = 0; i < pools_.size(); ++i) bytes += pools_[i].committed() * page_bytes_[i];
  return bytes;
}

PrefixCursor KvCache::Match(int pool, int variant, absl::Span<const int32_t> tokens, int max_pages,
                            std::vector<int32_t>* table) {
  PrefixCursor cursor{0, Root(variant)};
  if (!options_.prefix_cache) return cursor;
  PagePool& pages = pools_[pool];
  while (cursor.pages < max_pages) {
    const int32_t page = pages.Find(cursor.entry, PageOf(tokens, cursor.pages), &cursor.entry);
    if (page < 0) break;
    if (pages.refs(page) == 0) live_bytes_ += page_bytes_[pool];
    pages.Acquire(page);
    table->push_back(page);
    ++cursor.pages;
  }
  live_peak_bytes_ = std::max(live_peak_bytes_, live_bytes_);
  return cursor;
}

bool KvCache::Grow(int pool, int64_t count, std::vector<int32_t>* table) {
  if (count > available_bytes() / page_bytes_[pool]) return false;
  for (int64_t i = 0; i < count; ++i) table->push_back(Allocate(pool));
  return true;
}

void KvCache::Release(int pool, std::vector<int32_t>* table) {
  ++stamp_;
  // The end first, so that a prefix outlives what follows it.
  for (auto page = table->rbegin(); page != table->rend(); ++page) {
    pools_[pool].Release(*page, stamp_);
    if (pools_[pool].refs(*page) == 0) live_bytes_ -= page_bytes_[pool];
  }
  table->clear();
}

void KvCache::Publish(int pool, int variant, absl::Span<const int32_t> tokens, const std::vector<int32_t>& table,
                      int end, PrefixCursor* cursor) {
  if (!options_.prefix_cache) return;
  if (cursor->pages == 0) cursor->entry = Root(variant);
  for (; cursor->pages < end; ++cursor->pages) {
    cursor->entry =
        pools_[pool].Insert(cursor->entry, PageOf(tokens, cursor->pages), table[cursor->pages]);
  }
}

std::vector<int32_t> KvCache::Fork(int pool, absl::Span<const int32_t> table) {
  for (int32_t page : table) pools_[pool].Acquire(page);
  return {table.begin(), table.end()};
}

bool KvCache::MakeWritable(int pool, int index, std::vector<int32_t>* table, int32_t* from) {
  *from = -1;
  const int32_t page = (*table)[index];
  if (pools_[pool].refs(page) == 1 && !pools_[pool].indexed(page)) return true;
  if (available_bytes() < page_bytes_[pool]) return false;
  (*table)[index] = Allocate(pool);
  std::vector<int32_t> dropped = {page};
  Release(pool, &dropped);
  *from = page;
  return true;
}

int64_t KvCache::Exclusive(int pool, std::vector<int32_t> references) const {
  std::sort(references.begin(), references.end());
  int64_t exclusive = 0;
  for (auto page = references.begin(); page != references.end();) {
    const auto end = std::upper_bound(page, references.end(), *page);
    exclusive += pools_[pool].refs(*page) == end - page;
    page = end;
  }
  return exclusive;
}

// The caller has checked that live_bytes_ leaves room, so a page can be had: free here, never used, or taken from what nobody holds.
int32_t KvCache::Allocate(int pool) {
  live_bytes_ += page_bytes_[pool];
  live_peak_bytes_ = std::max(live_peak_bytes_, live_bytes_);
  while (pools_[pool].free() == 0) {
    if (committed_bytes() + page_bytes_[pool] <= options_.budget_bytes) return pools_[pool].TakeFresh();
    if (!DiscardOneFree()) EvictOldest();
  }
  return pools_[pool].TakeFree();
}

bool KvCache::DiscardOneFree() {
  for (int i = 0; i < pools(); ++i) {
    if (pools_[i].free() == 0) continue;
    const int32_t page = pools_[i].DiscardFree();
    if (options_.discard) options_.discard(i, page);
    return true;
  }
  return false;
}

void KvCache::EvictOldest() {
  std::min_element(pools_.begin(), pools_.end(), [](const PagePool& a, const PagePool& b) {
    return a.OldestStamp() < b.OldestStamp();
  })->EvictOldest();
}

const char* KvCache::Check() const {
  int64_t live = 0;
  for (int i = 0; i < pools(); ++i) {
    if (const char* problem = pools_[i].Check()) return problem;
    live += pools_[i].live() * page_bytes_[i];
  }
  if (live != live_bytes_) return "the number of live bytes is wrong";
  if (committed_bytes() > options_.budget_bytes) return "the budget is exceeded";
  return nullptr;
}

}  // namespace precis::runtime
