#include "runtime/tokenizer/rank_queue.h"

#include <algorithm>
#include <functional>

namespace precis::runtime {
namespace {

// Below this many pairs the heap stays in the processor's cache, and walking through all ranks costs more.
constexpr size_t kManyPairs = 16384;

uint64_t Pack(uint32_t rank, int32_t position) {
  return static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(position);
}

}  // namespace

RankQueue::RankQueue(size_t size, uint32_t rank_limit) {
  if (size >= kManyPairs) {
    last_.assign(rank_limit, -1);
    entries_.reserve(2 * size);
  } else {
    heap_.reserve(size);
  }
}

void RankQueue::Push(RankedPosition pair) {
  if (has_lists()) {
    if (pair.rank > batch_rank_) return Append(pair);
    TurnIntoHeap();
  }
  heap_.push_back(Pack(pair.rank, pair.position));
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

bool RankQueue::Pop(RankedPosition* pair) {
  if (has_lists()) {
    if (batch_taken_ == batch_.size() && !NextBatch()) return false;
    *pair = {static_cast<uint32_t>(batch_rank_), batch_[batch_taken_++]};
    return true;
  }
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
  *pair = {static_cast<uint32_t>(heap_.back() >> 32), static_cast<int32_t>(heap_.back() & UINT32_MAX)};
  heap_.pop_back();
  return true;
}

void RankQueue::Append(RankedPosition pair) {
  const auto index = static_cast<int32_t>(entries_.size());
  int32_t& last = last_[pair.rank];
  if (last < 0) {
    entries_.push_back({pair.position, index});
  } else {
    entries_.push_back({pair.position, entries_[last].next});
    entries_[last].next = index;
  }
  last = index;
}

// Moves on to the next rank that has pairs.
bool RankQueue::NextBatch() {
  batch_.clear();
  batch_taken_ = 0;
  while (++batch_rank_ < static_cast<int64_t>(last_.size())) {
    if (last_[batch_rank_] < 0) continue;
    TakeBatch(static_cast<uint32_t>(batch_rank_));
    if (!std::is_sorted(batch_.begin(), batch_.end())) std::sort(batch_.begin(), batch_.end());
    return true;
  }
  return false;
}

void RankQueue::TakeBatch(uint32_t rank) {
  const int32_t last = last_[rank];
  int32_t index = last;
  do {
    index = entries_[index].next;
    batch_.push_back(entries_[index].position);
  } while (index != last);
}

void RankQueue::TurnIntoHeap() {
  for (; batch_taken_ < batch_.size(); ++batch_taken_) {
    heap_.push_back(Pack(static_cast<uint32_t>(batch_rank_), batch_[batch_taken_]));
  }
  while (NextBatch()) {
    for (const int32_t position : batch_) heap_.push_back(Pack(static_cast<uint32_t>(batch_rank_), position));
  }
  last_.clear();
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
}

}  // namespace precis::runtime
