#include "client/internal/many_call.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace precis::client {
namespace {

v1::SummarizeManyResponse ErrorAnswer(const std::string& id, const absl::Status& status) {
  v1::SummarizeManyResponse answer;
  answer.set_client_request_id(id);
  answer.mutable_error()->set_code(static_cast<int>(status.code()));
  answer.mutable_error()->set_message(std::string(status.message()));
  return answer;
}

}  // namespace

ManyCall::ManyCall(SummarizerClient::ManyOptions options, Next next, OnAnswer on_answer,
                   std::function<void(absl::Time, grpc::ClientContext*)> prepare,
                   std::function<absl::Status(const grpc::Status&, const grpc::ClientContext&)> to_status,
                   v1::Summarizer::Stub* stub, Attempts attempts)
    : options_(options),
      next_(next),
      on_answer_(on_answer),
      prepare_(std::move(prepare)),
      to_status_(std::move(to_status)),
      stub_(stub),
      fresh_attempts_(attempts),
      stream_attempts_(attempts),
      deadline_(absl::Now() + options.call.timeout),
      cancellation_(options.call.cancellation != nullptr ? options.call.cancellation : &never_) {}

absl::Status ManyCall::Run() {
  while (true) {
    const absl::Status status = RunStream();
    if (status.ok() || !Reopen(status)) {
      AnswerRest(status.ok() ? absl::InternalError("the server closed the stream without an answer") : status);
      return status;
    }
  }
}

absl::Status ManyCall::RunStream() {
  grpc::ClientContext context;
  prepare_(deadline_, &context);
  Cancellation::Registration registration(cancellation_, &context);
  auto stream = stub_->SummarizeMany(&context);
  {
    absl::MutexLock lock(&mutex_);
    broken_ = false;
  }
  std::thread writer([&] { WriteAll(stream.get()); });
  v1::SummarizeManyResponse message;
  while (stream->Read(&message)) OnMessage(std::move(message));
  {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
  }
  writer.join();
  return to_status_(stream->Finish(), context);
}

void ManyCall::WriteAll(Stream* stream) {
  v1::SummarizeRequest request;
  while (true) {
    switch (WaitForTurn(&request)) {
      case Turn::kStop:
        stream->WritesDone();
        return;
      case Turn::kTakeNext:
        TakeNext();
        break;
      case Turn::kSend:
        if (!stream->Write(request)) return;  // the reader learns why
        break;
    }
  }
}

ManyCall::Item* ManyCall::DueItem(absl::Time now) {
  for (auto& [id, item] : unanswered_) {
    if (!item.sent && item.due <= now) return &item;
  }
  return nullptr;
}

absl::Time ManyCall::NextDue() const {
  absl::Time due = absl::InfiniteFuture();
  for (const auto& [id, item] : unanswered_) {
    if (!item.sent) due = std::min(due, item.due);
  }
  return due;
}

bool ManyCall::MustAct() const {
  if (broken_) return true;
  if (exhausted_) return unanswered_.empty();
  return static_cast<int>(unanswered_.size()) < options_.max_in_flight;
}

ManyCall::Turn ManyCall::WaitForTurn(v1::SummarizeRequest* request) {
  absl::MutexLock lock(&mutex_);
  while (true) {
    if (broken_) return Turn::kStop;
    if (Item* item = DueItem(absl::Now()); item != nullptr) {
      item->sent = true;
      *request = item->request;
      return Turn::kSend;
    }
    if (MustAct()) return exhausted_ ? Turn::kStop : Turn::kTakeNext;
    // A request to be sent again may become due meanwhile, or a new one with an earlier time may come.
    const absl::Time due = std::min(NextDue(), absl::Now() + absl::Milliseconds(100));
    mutex_.AwaitWithDeadline(absl::Condition(this, &ManyCall::MustAct), due);
  }
}

void ManyCall::TakeNext() {
  v1::SummarizeRequest request;
  const bool more = next_(&request);
  absl::MutexLock lock(&mutex_);
  if (!more) {
    exhausted_ = true;
    return;
  }
  if (request.client_request_id().empty()) {
    request.set_client_request_id(absl::StrCat("many-", ++made_ids_));
  }
  const std::string id = request.client_request_id();
  if (unanswered_.count(id) != 0) {
    refused_.push_back(ErrorAnswer(
        id, absl::InvalidArgumentError(absl::StrCat("client_request_id '", id,
                                                    "' is that of another unanswered request of this call"))));
    return;
  }
  unanswered_.emplace(id, Item{std::move(request), fresh_attempts_});
}

void ManyCall::OnMessage(v1::SummarizeManyResponse message) {
  {
    absl::MutexLock lock(&mutex_);
    auto found = unanswered_.find(message.client_request_id());
    if (found == unanswered_.end()) return;  // not ours: nothing waits for it
    absl::Status status;
    if (message.has_error()) {
      status = absl::Status(static_cast<absl::StatusCode>(message.error().code()), message.error().message());
      if (message.error().retry_after_ms() > 0) {
        SetRetryAfter(absl::Milliseconds(message.error().retry_after_ms()), &status);
      } else {
        SetRetryAfter(-absl::Milliseconds(1), &status);  // the proto says: 0 = don't retry
      }
    }
    Item& item = found->second;
    const std::optional<absl::Duration> wait = item.attempts.After(status);
    if (wait && absl::Now() + *wait < deadline_) {
      item.due = absl::Now() + *wait;
      item.sent = false;
      return;
    }
    unanswered_.erase(found);
  }
  stream_attempts_ = fresh_attempts_;  // the stream works
  on_answer_(message);
}

bool ManyCall::Reopen(const absl::Status& status) {
  const std::optional<absl::Duration> wait = stream_attempts_.After(status);
  if (!wait || absl::Now() + *wait >= deadline_) return false;
  if (!cancellation_->SleepUntil(absl::Now() + *wait)) return false;
  absl::MutexLock lock(&mutex_);
  for (auto& [id, item] : unanswered_) item.sent = false;
  return true;
}

void ManyCall::AnswerRest(const absl::Status& status) {
  std::vector<v1::SummarizeManyResponse> answers;
  {
    absl::MutexLock lock(&mutex_);
    answers.swap(refused_);
    for (const auto& [id, item] : unanswered_) answers.push_back(ErrorAnswer(id, status));
    unanswered_.clear();
  }
  for (const auto& answer : answers) on_answer_(answer);
}

absl::Status SummarizerClient::SummarizeMany(absl::FunctionRef<bool(v1::SummarizeRequest*)> next,
                                             absl::FunctionRef<void(const v1::SummarizeManyResponse&)> on_answer,
                                             const ManyOptions& options) {
  if (options.max_in_flight < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_in_flight is ", options.max_in_flight, "; it must be at least 1"));
  }
  Impl* impl = impl_.get();
  ManyCall call(
      options, next, on_answer,
      [impl](absl::Time deadline, grpc::ClientContext* context) { impl->Prepare(deadline, context); },
      [impl](const grpc::Status& status, const grpc::ClientContext& context) {
        return impl->Status(status, context);
      },
      impl->summarizer.get(), impl->NewAttempts(options.call));
  return call.Run();
}

}  // namespace precis::client
