#ifndef PRECIS_RUNTIME_TRAINING_BATCHES_H_
#define PRECIS_RUNTIME_TRAINING_BATCHES_H_

#include <cstdint>
#include <future>
#include <vector>

#include "runtime/training/batch.h"
#include "runtime/training/documents.h"

namespace precis::runtime {

struct BatchOptions {
  int max_rows = 0;
  float document_weight = 1, summary_weight = 1;
  uint64_t seed = 0;
  int pad_to_rows = 0;   // above 0: batches are filled to so many rows, in runs of at most pad_length, with rows of weight 0
  int pad_length = 1;
  int64_t shard_documents = 4096;  // documents that are shuffled together; shards are shuffled as wholes
};

// Where in the data a run is. All that is random is a function of this and the seed.
struct DataPosition {
  int64_t epoch = 0;
  int64_t index = 0;  // of the epoch's order
};

// The order of `count` documents in an epoch: shards in an order drawn from the seed, and the documents of each likewise (Fisher and Yates, Philox).
std::vector<int64_t> EpochOrder(int64_t count, int64_t shard_documents, uint64_t seed, int64_t epoch);

// Packs documents into batches of at most max_rows rows, none of them cut. Not thread-safe.
class BatchStream {
 public:
  // `documents` outlives the stream, has no document longer than max_rows + 1, and at least one.
  BatchStream(const Documents* documents, const BatchOptions& options, DataPosition position);

  Batch Next();
  DataPosition position() const { return position_; }
  double epochs() const { return static_cast<double>(position_.epoch) + static_cast<double>(position_.index) / static_cast<double>(documents_->count()); }

 private:
  const Documents* const documents_;
  const BatchOptions options_;
  DataPosition position_;
  std::vector<int64_t> order_;
};

// A BatchStream whose next batch is made by another thread while the caller works with this one. Not thread-safe.
class BatchesAhead {
 public:
  BatchesAhead(const Documents* documents, const BatchOptions& options, DataPosition position);
  Batch Next();
  // After the batch that Next gave last.
  DataPosition position() const { return position_; }
  double epochs() const { return epochs_; }

 private:
  struct Made {
    Batch batch;
    DataPosition position;
    double epochs = 0;
  };
  void MakeNext();
  BatchStream stream_;
  DataPosition position_;
  double epochs_;
  std::future<Made> next_;  // the last member: its end waits for the thread, which uses the stream
};

// All documents in order, for evaluation.
std::vector<Batch> BatchesInOrder(const Documents& documents, const BatchOptions& options);

// Adds document i's rows to the batch.
void AddDocument(const Documents& documents, int64_t i, const BatchOptions& options, Batch* batch);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_BATCHES_H_
