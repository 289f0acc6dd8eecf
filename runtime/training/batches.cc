#include "runtime/training/batches.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/sampling/philox.h"

namespace precis::runtime {
namespace {

// Numbers below `bound` for one shuffle.
class Draws {
 public:
  Draws(uint64_t seed, int64_t epoch, int64_t which) : seed_(seed), epoch_(epoch), which_(which) {}
  int64_t Below(int64_t bound) {
    const auto words = Philox4x32({static_cast<uint32_t>(next_++), static_cast<uint32_t>(which_), static_cast<uint32_t>(which_ >> 32), static_cast<uint32_t>(epoch_)},
                                  {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
    const uint64_t bits = uint64_t{words[0]} << 32 | words[1];
    return static_cast<int64_t>((static_cast<unsigned __int128>(bits) * static_cast<uint64_t>(bound)) >> 64);
  }

 private:
  const uint64_t seed_;
  const int64_t epoch_, which_;
  uint64_t next_ = 0;
};

void Shuffle(int64_t* values, int64_t count, Draws draws) {
  for (int64_t i = count - 1; i > 0; --i) std::swap(values[i], values[draws.Below(i + 1)]);
}

}  // namespace

std::vector<int64_t> EpochOrder(int64_t count, int64_t shard_documents, uint64_t seed, int64_t epoch) {
  const int64_t shards = (count + shard_documents - 1) / shard_documents;
  std::vector<int64_t> shard(shards), order;
  std::iota(shard.begin(), shard.end(), 0);
  Shuffle(shard.data(), shards, Draws(seed, epoch, shards));
  order.reserve(count);
  for (int64_t s : shard) {
    const int64_t first = static_cast<int64_t>(order.size());
    for (int64_t i = s * shard_documents; i < std::min(count, (s + 1) * shard_documents); ++i) order.push_back(i);
    Shuffle(order.data() + first, static_cast<int64_t>(order.size()) - first, Draws(seed, epoch, s));
  }
  return order;
}

void AddDocument(const Documents& documents, int64_t i, const BatchOptions& options, Batch* batch) {
  const int32_t* tokens = documents.tokens.data() + documents.begin[i];
  const int32_t rows = documents.length(i) - 1;
  if (rows < 1) return;
  batch->begin.push_back(batch->rows());
  batch->length.push_back(rows);
  for (int32_t r = 0; r < rows; ++r) {
    const bool summary = r + 1 >= documents.summary_begin[i];
    batch->tokens.push_back(tokens[r]);
    batch->positions.push_back(r);
    batch->targets.push_back(tokens[r + 1]);
    batch->in_summary.push_back(summary ? 1 : 0);
    batch->weights.push_back(summary ? options.summary_weight : options.document_weight);
  }
}

namespace {

void Pad(const BatchOptions& options, Batch* batch) {
  batch->padding = std::max(0, options.pad_to_rows - batch->rows());
  for (int left = batch->padding; left > 0;) {
    const int rows = std::min(left, options.pad_length);
    batch->begin.push_back(batch->rows());
    batch->length.push_back(rows);
    for (int r = 0; r < rows; ++r) {
      batch->tokens.push_back(0);
      batch->positions.push_back(r);
      batch->targets.push_back(-1);
      batch->in_summary.push_back(0);
      batch->weights.push_back(0);
    }
    left -= rows;
  }
}

}  // namespace

BatchStream::BatchStream(const Documents* documents, const BatchOptions& options, DataPosition position)
    : documents_(documents), options_(options), position_(position),
      order_(EpochOrder(documents->count(), options.shard_documents, options.seed, position.epoch)) {}

Batch BatchStream::Next() {
  Batch batch;
  for (;;) {
    if (position_.index == documents_->count()) {
      position_ = {.epoch = position_.epoch + 1, .index = 0};
      order_ = EpochOrder(documents_->count(), options_.shard_documents, options_.seed, position_.epoch);
    }
    const int64_t document = order_[position_.index];
    if (batch.rows() + documents_->length(document) - 1 > options_.max_rows) {
      Pad(options_, &batch);
      return batch;
    }
    AddDocument(*documents_, document, options_, &batch);
    ++position_.index;
  }
}

BatchesAhead::BatchesAhead(const Documents* documents, const BatchOptions& options, DataPosition position)
    : stream_(documents, options, position), position_(stream_.position()), epochs_(stream_.epochs()) {
  MakeNext();
}

void BatchesAhead::MakeNext() {
  next_ = std::async(std::launch::async, [this] {
    Made made = {.batch = stream_.Next(), .position = {}, .epochs = 0};
    made.position = stream_.position();
    made.epochs = stream_.epochs();
    return made;
  });
}

Batch BatchesAhead::Next() {
  Made made = next_.get();
  position_ = made.position;
  epochs_ = made.epochs;
  MakeNext();
  return std::move(made.batch);
}

std::vector<Batch> BatchesInOrder(const Documents& documents, const BatchOptions& options) {
  std::vector<Batch> batches(1);
  for (int64_t i = 0; i < documents.count(); ++i) {
    if (batches.back().rows() + documents.length(i) - 1 > options.max_rows) batches.emplace_back();
    AddDocument(documents, i, options, &batches.back());
  }
  if (batches.back().rows() == 0) batches.pop_back();
  for (Batch& batch : batches) Pad(options, &batch);
  return batches;
}

}  // namespace precis::runtime
