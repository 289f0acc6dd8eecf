#ifndef PRECIS_CLIENT_SUMMARIZER_CLIENT_H_
#define PRECIS_CLIENT_SUMMARIZER_CLIENT_H_

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "precis/v1/summarizer.pb.h"

namespace grpc {
class ClientContext;
}

namespace precis::client {

struct TlsOptions {
  bool enabled = false;
  std::string ca_file;           // PEM; empty: the system's roots
  std::string certificate_file;  // PEM; with key_file: mutual TLS
  std::string key_file;
  std::string server_name;  // the name to expect in the server's certificate; empty: the address's host
};

// Only UNAVAILABLE, and RESOURCE_EXHAUSTED when the server says when to come back, are retried, and a stream only
// before its first delta. The server's `grpc-retry-pushback-ms` is honoured: a number is waited at least, a negative one ends the attempts;
// without one, the wait before retry n is drawn from [b/2, b], b = min(initial * multiplier^(n-1), max).
struct RetryOptions {
  int max_attempts = 4;  // the first one included; 1: never retry
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
  double multiplier = 2;
  // The budget of all calls of a client (gRFC A6): every retriable failure takes one token, every success gives
  // `budget_refill` back, and nothing is retried while half of the tokens or more are gone.
  double budget_tokens = 100;
  double budget_refill = 0.1;
};

// A second copy of a summary that takes long, for a client of several servers (a name with several addresses): if no answer came within `delay`, the
// request is sent once more, which round robin gives to another server; the first good answer counts and the other copy is cancelled. Only Summarize is
// hedged: it changes nothing on a server. At most `budget` of the calls, and `burst` at once beyond that, have a copy, so that servers that are slow as a
// whole don't get twice the work. Choose `delay` near the p95 of your latencies.
struct HedgeOptions {
  absl::Duration delay = absl::InfiniteDuration();  // infinite: no copies
  double budget = 0.05;
  double burst = 5;
};

struct ConnectionOptions {
  std::string address;  // HOST:PORT, unix:PATH or another gRPC target
  TlsOptions tls;
  // Sent as `authorization: Bearer ...`. Refused without TLS unless the address is this machine's, or the
  // last member is set.
  std::string bearer_token;
  bool allow_plaintext_token = false;
  RetryOptions retry;
  HedgeOptions hedge;
  // Called for each attempt of each call, by any thread; what it returns goes along as metadata, for instance {"traceparent", ...}. May be empty.
  std::function<std::vector<std::pair<std::string, std::string>>()> call_metadata;
  int max_message_bytes = 16 << 20;
};

// Ends calls from another thread. One may serve many calls, at the same time or one after the other; once cancelled
// it stays so. Thread-safe. Must outlive the calls that it is given to.
class Cancellation {
 public:
  void Cancel();
  bool cancelled() const;

  // For the client: what ends a call, or a wait between two, for as long as the guard lives. Called at once if it is cancelled already; must not use the
  // Cancellation. `cancellation` may be null.
  class Registration {
   public:
    Registration(Cancellation* cancellation, grpc::ClientContext* context);
    Registration(Cancellation* cancellation, std::function<void()> on_cancel);
    ~Registration();
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

   private:
    friend class Cancellation;
    Cancellation* const cancellation_;
    const std::function<void()> on_cancel_;
  };
  // Sleeps until `time`; false if cancelled.
  bool SleepUntil(absl::Time time) const;

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<Registration*> registrations_ ABSL_GUARDED_BY(mutex_);
};

struct CallOptions {
  // For the whole call: all attempts and the waits between them. Sent to the server, which stops working when it has passed.
  absl::Duration timeout = absl::Seconds(60);
  Cancellation* cancellation = nullptr;  // may be null
  bool retry = true;  // false: one attempt, whatever RetryOptions say
};

enum class Health { kUnknown, kServing, kNotServing };

// The server's wish on when to retry, as it came with a failed call; nullopt if it had none.
std::optional<absl::Duration> RetryAfter(const absl::Status& status);

// A client of one Precis server (or of several behind a name: `dns:///` targets are balanced round-robin). Holds one channel,
// which connects when it is first used and reconnects by itself.
//
//   auto client = SummarizerClient::Create({.address = "127.0.0.1:50051"});
//   v1::SummarizeRequest request;
//   request.set_document(text);
//   request.set_attention_backend("flash");
//   absl::StatusOr<v1::SummarizeResponse> response = (*client)->Summarize(request);
//
// Requests and replies are the messages of precis.v1: each field's unit, range and default is documented there,
// once. Errors carry the server's code and message; a server that can't be reached is UNAVAILABLE with a message that
// names the address and the cause.
//
// Thread-safe. The destructor cancels what StartStream began and waits for its on_done.
class SummarizerClient {
 public:
  // Doesn't connect yet. INVALID_ARGUMENT or NOT_FOUND: an empty address, a certificate file that can't be read or is half of a
  // pair, a token that would go out in plain text.
  static absl::StatusOr<std::unique_ptr<SummarizerClient>> Create(const ConnectionOptions& options);
  ~SummarizerClient();

  absl::StatusOr<v1::SummarizeResponse> Summarize(const v1::SummarizeRequest& request,
                                                  const CallOptions& options = {});

  // Calls on_delta, on this thread, with each piece of text as it arrives; the pieces joined are the result's
  // summary. When on_delta returns false the call is cancelled, on the server too, and CANCELLED returned.
  absl::StatusOr<v1::SummarizeResponse> StreamSummarize(
      const v1::SummarizeRequest& request, absl::FunctionRef<bool(std::string_view delta)> on_delta,
      const CallOptions& options = {});

  // Called on gRPC's threads: must return quickly and must not destroy the client.
  struct StreamCallbacks {
    std::function<void(std::string_view delta)> on_delta;  // may be empty
    std::function<void(absl::StatusOr<v1::SummarizeResponse>)> on_done;  // exactly once, last
  };
  // Like StreamSummarize, retries included, but returns at once and needs no thread, not while it waits between attempts either. For programs with very many
  // calls at a time.
  void StartStream(const v1::SummarizeRequest& request, StreamCallbacks callbacks,
                   const CallOptions& options = {});

  // Many documents over one stream. `next` fills in a request, or returns false when there are no more; it is called
  // on another thread, one call at a time, never with more than `max_in_flight` requests unanswered, and may block.
  // `on_answer` is called on this thread, exactly once for each request, in the order in which they finish. Each
  // request's client_request_id must differ from those unanswered; an empty one is filled in.
  // A request that fails in a retriable way is sent again as RetryOptions allow; if the stream breaks, the unanswered
  // ones are, over a new one. What can't be retried is answered with its error. Returns the status of the (last) stream.
  struct ManyOptions {
    CallOptions call;
    int max_in_flight = 64;
  };
  absl::Status SummarizeMany(absl::FunctionRef<bool(v1::SummarizeRequest* request)> next,
                             absl::FunctionRef<void(const v1::SummarizeManyResponse& answer)> on_answer,
                             const ManyOptions& options);

  absl::StatusOr<v1::ListModelsResponse> ListModels(const CallOptions& options = {});
  absl::StatusOr<v1::ListBackendsResponse> ListBackends(const CallOptions& options = {});

  // Of the whole server if `service` is empty, else for instance "precis.v1.Summarizer"; NOT_FOUND if there is none such.
  absl::StatusOr<Health> CheckHealth(const std::string& service = "", const CallOptions& options = {});
  // Calls on_change with the state and then at every change, until it returns false (OK) or the call ends.
  absl::Status WatchHealth(const std::string& service, absl::FunctionRef<bool(Health)> on_change,
                           const CallOptions& options = {});

 private:
  struct Impl;
  explicit SummarizerClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace precis::client

#endif  // PRECIS_CLIENT_SUMMARIZER_CLIENT_H_
