#ifndef PRECIS_CLIENT_EVAL_RUN_ANSWER_CACHE_H_
#define PRECIS_CLIENT_EVAL_RUN_ANSWER_CACHE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/eval/run/answer.h"
#include "client/eval/run/journal.h"

namespace precis::eval {

// Answers of earlier runs by (server build, checkpoint, backend, options, document): a summary is a pure function of these. A folder with one
// journal for each combination of all but the document. Thread-safe.
class AnswerCache {
 public:
  // An empty folder: no cache.
  explicit AnswerCache(std::string folder) : folder_(std::move(folder)) {}

  // Opens the journal of a contender (an error leaves it without a cache); `configuration` is what besides the document decides about its answers, `backend` begins the
  // file's name.
  absl::Status Open(const std::string& contender, const std::string& backend, const std::string& configuration);
  std::optional<Answer> Find(const std::string& contender, const std::string& document) const;
  void Add(const std::string& document, const Answer& answer);

 private:
  struct Shelf {
    std::unique_ptr<Journal> journal;
    std::map<std::string, Answer> answers;  // by the document's fingerprint
  };
  static std::string Key(const std::string& document);

  const std::string folder_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Shelf> shelves_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_ANSWER_CACHE_H_
