#ifndef PRECIS_TESTS_SUPPORT_FAKE_SUMMARIZER_H_
#define PRECIS_TESTS_SUPPORT_FAKE_SUMMARIZER_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "precis/v1/summarizer.grpc.pb.h"

namespace precis::testing {

// A Summarizer in this process for tests of clients: "summarises" a document by its first words (one token each),
// and fails, waits and records as it is told. Thread-safe.
class FakeSummarizer final : public v1::Summarizer::Service {
 public:
  // One answer of the script. `pushback` is sent as grpc-retry-pushback-ms if not empty.
  struct Failure {
    grpc::StatusCode code;
    std::string message;
    std::string pushback;
  };

  // Starts on a free port of 127.0.0.1, or on `port`; with `credentials` if given.
  explicit FakeSummarizer(std::shared_ptr<grpc::ServerCredentials> credentials = nullptr, int port = 0);
  ~FakeSummarizer() override;

  std::string address() const;
  int port() const { return port_; }
  void Stop();

  // The next calls fail, one after the other; SummarizeMany: the next requests.
  void FailNext(std::vector<Failure> failures);
  // The next SummarizeMany stream breaks with UNAVAILABLE after this many answers.
  void BreakManyStreamAfter(int answers);
  void SetWordDelay(absl::Duration delay);  // between the words
  void SetServing(bool serving);

  int calls() const;      // of Summarize and StreamSummarize, and requests of SummarizeMany
  int cancelled() const;  // calls that the server saw cancelled
  std::string last_authorization() const { return last_metadata("authorization"); }
  std::string last_metadata(const std::string& key) const;  // of the last call; empty: none
  std::vector<absl::Time> arrivals() const;

  grpc::Status Summarize(grpc::ServerContext*, const v1::SummarizeRequest*, v1::SummarizeResponse*) override;
  grpc::Status StreamSummarize(grpc::ServerContext*, const v1::SummarizeRequest*,
                               grpc::ServerWriter<v1::StreamSummarizeResponse>*) override;
  grpc::Status SummarizeMany(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::SummarizeManyResponse, v1::SummarizeRequest>*) override;
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse*) override;
  grpc::Status ListBackends(grpc::ServerContext*, const v1::ListBackendsRequest*,
                            v1::ListBackendsResponse*) override;

 private:
  class HealthService;
  // Records the call; the failure that it shall have, if any (then *failed).
  Failure Enter(const grpc::ServerContext& context, bool* failed);
  // Waits between words; false if the call was cancelled.
  bool Pause(grpc::ServerContext* context);

  int port_ = 0;
  std::unique_ptr<HealthService> health_;
  std::unique_ptr<grpc::Server> server_;
  mutable absl::Mutex mutex_;
  std::deque<Failure> failures_ ABSL_GUARDED_BY(mutex_);
  int break_after_ ABSL_GUARDED_BY(mutex_) = -1;
  absl::Duration word_delay_ ABSL_GUARDED_BY(mutex_);
  bool serving_ ABSL_GUARDED_BY(mutex_) = true;
  int cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::string> metadata_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Time> arrivals_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::testing

#endif  // PRECIS_TESTS_SUPPORT_FAKE_SUMMARIZER_H_
