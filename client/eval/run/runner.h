#ifndef PRECIS_CLIENT_EVAL_RUN_RUNNER_H_
#define PRECIS_CLIENT_EVAL_RUN_RUNNER_H_

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "client/eval/run/answer.h"
#include "client/eval/run/answer_cache.h"
#include "client/eval/run/journal.h"
#include "client/eval/run/machine.h"
#include "client/eval/run/progress.h"
#include "client/eval/run/run_options.h"

namespace precis::eval {

// Names of the files in a run's folder.
inline constexpr char kRunFile[] = "run.json";               // what was asked of whom: see Runner
inline constexpr char kDocumentsFile[] = "documents.jsonl";  // id, group, text, references, a document a line
inline constexpr char kAnswersFile[] = "answers.jsonl";      // answers and {"block": ...} lines in the order of their arrival

struct RunResult {
  int64_t answered = 0, failed = 0, from_before = 0, from_cache = 0;
  std::string first_error;
  bool interrupted = false;
};

// Sends the documents to each contender and keeps what comes back.
//
// Documents: in blocks of a few times the concurrency; for each block the contenders take turns in random order, so that slow changes of the
// machine meet all alike while only one runs at a time: a block's tokens over its seconds are its throughput. Then, if wanted, the length
// sweep (one request at a time, the first contender of each backend) and the open loop (Poisson arrivals; latencies count from the intended moment).
//
// Everything is in the journal as soon as it is known. Run on a folder that holds a part of the same run, it does the rest; errors are tried again.
class Runner {
 public:
  // All must outlive the runner. `interrupted` ends the run early, with what there is kept.
  Runner(const RunOptions& options, const std::atomic<bool>* interrupted) : options_(options), interrupted_(interrupted) {}

  // UNAVAILABLE and the like when the server can't be reached or refuses a backend; FAILED_PRECONDITION when the folder holds another run;
  // what the data readers say. Failed documents are no error but counted.
  absl::StatusOr<RunResult> Run();

 private:
  struct Task {
    int64_t document;
    const Contender* contender;
    std::string phase;
    const std::string* text;
    double start_seconds = 0;  // after the beginning of the phase; for the open loop
  };

  absl::Status Prepare();
  absl::Status OpenFolder();
  Json Configuration() const;
  // What was set of the request; the rest is the server's default.
  static Json OptionsJson(const v1::SummarizeRequest& prototype);
  absl::Status WarmUp();
  absl::Status RunDocuments();
  absl::Status RunLengths();
  absl::Status RunOpenLoop(double rate);
  // On `workers` threads; the error ends the run: the journal can't be written, or the server is gone.
  absl::Status RunTasks(const std::vector<Task>& tasks, int workers, Progress* progress);
  absl::Status RunOne(const Task& task, absl::Time phase_start, Progress* progress);
  Answer Ask(const Task& task, absl::Time intended) const;
  bool Done(const Task& task) const { return done_.contains({task.phase, task.contender->name, task.document}); }
  absl::Status Count(const Answer& answer, Progress* progress);

  const RunOptions& options_;
  const std::atomic<bool>* const interrupted_;
  Dataset dataset_;
  Server server_;
  std::vector<Contender> contenders_;
  std::unique_ptr<client::SummarizerClient> client_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<AnswerCache> cache_;
  std::set<std::tuple<std::string, std::string, int64_t>> done_;

  absl::Mutex mutex_;
  RunResult result_ ABSL_GUARDED_BY(mutex_);
  int unavailable_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_RUNNER_H_
