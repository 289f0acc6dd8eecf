#include "runtime/cache/page_pool.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "absl/hash/hash.h"

namespace precis::runtime {

size_t PagePool::KeyHash::operator()(const Key& key) const {
  return absl::HashOf(key.parent, key.tokens) & mask;
}

PagePool::PagePool(int64_t pages, uint64_t hash_mask) : pages_(pages), index_(0, KeyHash{hash_mask}) {}

int32_t PagePool::TakeFresh() {
  int32_t page;
  if (!discarded_.empty()) {
    std::pop_heap(discarded_.begin(), discarded_.end(), std::greater<int32_t>());
    page = discarded_.back();
    discarded_.pop_back();
  } else {
    page = first_untouched_++;
  }
  pages_[page].refs = 1;
  ++live_;
  return page;
}

int32_t PagePool::TakeFree() {
  const int32_t page = free_.back();
  free_.pop_back();
  pages_[page].refs = 1;
  ++live_;
  return page;
}

int32_t PagePool::DiscardFree() {
  const int32_t page = free_.back();
  free_.pop_back();
  discarded_.push_back(page);
  std::push_heap(discarded_.begin(), discarded_.end(), std::greater<int32_t>());
  return page;
}

void PagePool::EvictOldest() {
  const int32_t page = oldest_;
  Unlink(page);
  --cached_;
  index_.erase(pages_[page].key);
  pages_[page].entry = 0;
  free_.push_back(page);
}

uint64_t PagePool::OldestStamp() const {
  return oldest_ < 0 ? std::numeric_limits<uint64_t>::max() : pages_[oldest_].stamp;
}

void PagePool::Acquire(int32_t page) {
  if (pages_[page].refs++ == 0) {
    Unlink(page);
    --cached_;
    ++live_;
  }
}

void PagePool::Release(int32_t page, uint64_t stamp) {
  Page& entry = pages_[page];
  if (--entry.refs > 0) return;
  --live_;
  if (entry.entry == 0) {
    free_.push_back(page);
    return;
  }
  entry.stamp = stamp;
  Append(page);
  ++cached_;
}

int32_t PagePool::Find(uint64_t parent, absl::Span<const int32_t> tokens, uint64_t* entry) const {
  Key key{parent, {}};
  std::copy_n(tokens.begin(), kernels::kPageTokens, key.tokens.begin());
  const auto found = index_.find(key);
  if (found == index_.end()) return -1;
  *entry = pages_[found->second].entry;
  return found->second;
}

uint64_t PagePool::Insert(uint64_t parent, absl::Span<const int32_t> tokens, int32_t page) {
  Page& entry = pages_[page];
  if (entry.entry != 0) return entry.entry;
  entry.key.parent = parent;
  std::copy_n(tokens.begin(), kernels::kPageTokens, entry.key.tokens.begin());
  const auto [found, inserted] = index_.try_emplace(entry.key, page);
  if (inserted) entry.entry = next_entry_++;
  return pages_[found->second].entry;
}

void PagePool::Append(int32_t page) {
  pages_[page].previous = newest_;
  pages_[page].next = -1;
  (newest_ < 0 ? oldest_ : pages_[newest_].next) = page;
  newest_ = page;
}

void PagePool::Unlink(int32_t page) {
  const Page& entry = pages_[page];
  (entry.previous < 0 ? oldest_ : pages_[entry.previous].next) = entry.next;
  (entry.next < 0 ? newest_ : pages_[entry.next].previous) = entry.previous;
}

const char* PagePool::Check() const {
  int64_t live = 0, cached = 0, indexed = 0;
  for (const Page& page : pages_) {
    if (page.refs < 0) return "a negative reference count";
    live += page.refs > 0;
    indexed += page.entry != 0;
    cached += page.refs == 0 && page.entry != 0;
  }
  if (live != live_) return "the number of live pages is wrong";
  if (cached != cached_) return "the number of cached pages is wrong";
  if (indexed != static_cast<int64_t>(index_.size())) return "the index has a wrong size";
  const int64_t fresh = pages() - first_untouched_ + static_cast<int64_t>(discarded_.size());
  if (live + cached + free() + fresh != pages()) return "pages were lost";
  uint64_t stamp = 0;
  int64_t listed = 0;
  for (int32_t page = oldest_; page >= 0; page = pages_[page].next, ++listed) {
    if (pages_[page].refs != 0 || pages_[page].stamp < stamp) return "the LRU list is out of order";
    stamp = pages_[page].stamp;
  }
  return listed == cached ? nullptr : "the LRU list has a wrong length";
}

}  // namespace precis::runtime
