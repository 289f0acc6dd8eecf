#include "client/eval/run/runner.h"

#include <algorithm>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace precis::eval {
namespace {

// After so many calls in a row that found no server the rest is left for later.
constexpr int kMostUnavailable = 8;

std::string ErrorText(const absl::Status& status) {
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", std::string(status.message()));
}

}  // namespace

absl::Status Runner::Prepare() {
  auto client = client::SummarizerClient::Create(options_.connection);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  auto server = AskServer(client_.get());
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  contenders_ = options_.contenders;
  if (contenders_.empty()) {
    for (const std::string& backend : server_.Served()) {
      contenders_.push_back({backend, options_.prototype});
      contenders_.back().prototype.set_attention_backend(backend);
    }
  }
  if (contenders_.empty()) return absl::InvalidArgumentError("no model of the server serves any backend");
  auto dataset = ReadDataset(options_.data);
  if (!dataset.ok()) return dataset.status();
  dataset_ = *std::move(dataset);
  const absl::Status status = OpenFolder();
  if (!status.ok()) return status;
  cache_ = std::make_unique<AnswerCache>(options_.cache);
  return absl::OkStatus();
}

Answer Runner::Ask(const Task& task, absl::Time intended) const {
  v1::SummarizeRequest request = task.contender->prototype;
  request.set_document(*task.text);
  request.set_client_request_id(absl::StrCat("eval-", task.phase, "-", task.document));
  if (task.phase == "lengths") {  // what is measured is the prompt
    request.mutable_options()->set_max_new_tokens(4);
    request.mutable_options()->clear_min_new_tokens();
    request.set_too_long(v1::TOO_LONG_REJECT);
  }
  Answer answer{.document = task.document, .backend = task.contender->name, .phase = task.phase};
  absl::Time first = absl::InfiniteFuture();
  const auto response = client_->StreamSummarize(
      request,
      [&first](std::string_view) {
        first = std::min(first, absl::Now());
        return true;
      },
      {.timeout = options_.deadline});
  if (!response.ok()) {
    answer.error = ErrorText(response.status());
    return answer;
  }
  const absl::Time end = absl::Now();
  answer.summary = response->summary();
  answer.model = response->model();
  answer.checkpoint = response->checkpoint();
  answer.finish_reason = cli::ResponseToJson(*response)["finish_reason"].get<std::string>();
  answer.accounting = cli::MessageToJson(response->accounting());
  answer.client_seconds = absl::ToDoubleSeconds(end - intended);
  answer.client_first_token_seconds = absl::ToDoubleSeconds(std::min(first, end) - intended);
  return answer;
}

absl::Status Runner::WarmUp() {
  for (const Contender& contender : contenders_) {
    Answer answer;
    for (int i = 0; i < std::max(1, options_.warmup); ++i) {
      const auto& documents = dataset_.documents;
      // A document that the server refuses for its size says nothing about the backend: the next one may do.
      for (size_t attempt = 0; attempt < std::min<size_t>(documents.size(), 5); ++attempt) {
        const int64_t document = static_cast<int64_t>((i + attempt) % documents.size());
        answer = Ask({document, &contender, "warmup", &documents[document].text}, absl::Now());
        if (answer.ok()) break;
      }
      if (!answer.ok()) {
        const size_t colon = answer.error.find(": ");
        for (const auto code : {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kUnauthenticated,
                                absl::StatusCode::kResourceExhausted}) {
          if (answer.error.substr(0, colon) == absl::StatusCodeToString(code)) return absl::Status(code, absl::StrCat("backend ", contender.name, ": ", answer.error));
        }
        return absl::InvalidArgumentError(absl::StrCat("backend ", contender.name, ": ", answer.error));
      }
    }
    Json checkpoint;
    for (const auto& model : server_.models.models()) {
      for (const auto& candidate : model.checkpoints()) {
        if (model.name() == answer.model && candidate.name() == answer.checkpoint) checkpoint = cli::MessageToJson(candidate);
      }
    }
    const Json what = {{"server", server_.backends.server_build()}, {"device", server_.backends.device()}, {"checkpoint", checkpoint},
                       {"backend", contender.prototype.attention_backend()}, {"options", OptionsJson(contender.prototype)}};
    const absl::Status cached = cache_->Open(contender.name, contender.prototype.attention_backend(), cli::Dump(what, false));
    if (!cached.ok()) std::cerr << "no answer cache for " << contender.name << ": " << cached.message() << std::endl;
  }
  return absl::OkStatus();
}

absl::Status Runner::Count(const Answer& answer, Progress* progress) {
  const absl::Status written = journal_->Append(AnswerToJson(answer));
  progress->Add(!answer.ok(), !answer.cached);
  absl::MutexLock lock(&mutex_);
  const bool limits = answer.phase == "lengths" && answer.error.rfind("INVALID_ARGUMENT", 0) == 0;  // longer than the context
  if (answer.ok()) {
    ++result_.answered;
    result_.from_cache += answer.cached;
  } else if (!limits) {
    ++result_.failed;
    if (result_.first_error.empty()) result_.first_error = answer.error;
  }
  unavailable_in_a_row_ = answer.error.rfind("UNAVAILABLE", 0) == 0 ? unavailable_in_a_row_ + 1 : 0;
  if (!written.ok()) return written;
  if (unavailable_in_a_row_ < kMostUnavailable) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server is gone (", answer.error, "); what was answered is kept: the same command goes on from there"));
}

absl::Status Runner::RunOne(const Task& task, absl::Time phase_start, Progress* progress) {
  if (task.phase == "documents") {
    if (std::optional<Answer> known = cache_->Find(task.contender->name, *task.text)) {
      known->document = task.document;
      known->backend = task.contender->name;
      known->cached = true;
      return Count(*known, progress);
    }
  }
  const absl::Time intended = task.start_seconds > 0 ? phase_start + absl::Seconds(task.start_seconds) : absl::Now();
  while (absl::Now() < intended && !*interrupted_) absl::SleepFor(std::min(intended - absl::Now(), absl::Milliseconds(100)));
  const Answer answer = Ask(task, intended);
  if (task.phase == "documents") cache_->Add(*task.text, answer);
  return Count(answer, progress);
}

absl::Status Runner::RunTasks(const std::vector<Task>& tasks, int workers, Progress* progress) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  absl::Mutex mutex;
  absl::Status status;
  const absl::Time start = absl::Now();
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size() && !stop && !*interrupted_; i = next++) {
      const absl::Status one = RunOne(tasks[i], start, progress);
      if (one.ok()) continue;
      absl::MutexLock lock(&mutex);
      status.Update(one);
      stop = true;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < std::min<int>(workers, static_cast<int>(tasks.size())); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&mutex);
  return status;
}

absl::StatusOr<RunResult> Runner::Run() {
  absl::Status status = Prepare();
  if (status.ok()) status = WarmUp();
  if (status.ok()) status = RunDocuments();
  if (status.ok() && !*interrupted_) status = RunLengths();
  for (const double rate : options_.rates) {
    if (status.ok() && !*interrupted_) status = RunOpenLoop(rate);
  }
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  result_.interrupted = *interrupted_;
  return result_;
}

}  // namespace precis::eval
