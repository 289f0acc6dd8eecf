#include "tests/support/fake_summarizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace precis::testing {
namespace {

constexpr int kDefaultWords = 5;

std::vector<std::string> SummaryWords(const v1::SummarizeRequest& request) {
  std::vector<std::string> words = absl::StrSplit(request.document(), ' ', absl::SkipEmpty());
  const int most = request.options().has_max_new_tokens() ? request.options().max_new_tokens() : kDefaultWords;
  if (static_cast<int>(words.size()) > most) words.resize(most);
  for (size_t i = 1; i < words.size(); ++i) words[i] = " " + words[i];
  return words;
}

void FillResponse(const v1::SummarizeRequest& request, v1::SummarizeResponse* response) {
  const std::vector<std::string> words = SummaryWords(request);
  for (size_t i = 0; i < words.size(); ++i) {
    *response->mutable_summary() += words[i];
    if (request.return_token_ids()) response->add_token_ids(static_cast<int>(i) + 1);
  }
  response->set_finish_reason(v1::FINISH_REASON_MAX_NEW_TOKENS);
  response->set_model(request.model().empty() ? "fake" : request.model());
  response->set_attention_backend(request.attention_backend().empty() ? "flash" : request.attention_backend());
  response->set_checkpoint("fake-learned");
  response->set_client_request_id(request.client_request_id());
  response->mutable_assignment()->set_reason(v1::ASSIGNMENT_REASON_NONE);
  v1::Accounting* accounting = response->mutable_accounting();
  accounting->set_prompt_tokens(static_cast<int>(request.document().size()));
  accounting->set_new_tokens(static_cast<int>(words.size()));
  accounting->set_kv_cache_peak_bytes(int64_t{1} << 40);
}

grpc::Status Fail(grpc::ServerContext* context, const FakeSummarizer::Failure& failure) {
  if (!failure.pushback.empty()) context->AddTrailingMetadata("grpc-retry-pushback-ms", failure.pushback);
  return grpc::Status(failure.code, failure.message);
}

}  // namespace

class FakeSummarizer::HealthService final : public grpc::health::v1::Health::Service {
 public:
  explicit HealthService(FakeSummarizer* fake) : fake_(fake) {}

  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override {
    if (!request->service().empty() && request->service() != "precis.v1.Summarizer") {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service");
    }
    response->set_status(State());
    return grpc::Status::OK;
  }

  grpc::Status Watch(grpc::ServerContext* context, const grpc::health::v1::HealthCheckRequest*,
                     grpc::ServerWriter<grpc::health::v1::HealthCheckResponse>* writer) override {
    auto last = grpc::health::v1::HealthCheckResponse::UNKNOWN;
    while (!context->IsCancelled()) {
      grpc::health::v1::HealthCheckResponse response;
      response.set_status(State());
      if (response.status() != last) writer->Write(response);
      last = response.status();
      absl::SleepFor(absl::Milliseconds(5));
    }
    return grpc::Status::OK;
  }

 private:
  grpc::health::v1::HealthCheckResponse::ServingStatus State() {
    absl::MutexLock lock(&fake_->mutex_);
    return fake_->serving_ ? grpc::health::v1::HealthCheckResponse::SERVING
                           : grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  }
  FakeSummarizer* const fake_;
};

FakeSummarizer::FakeSummarizer(std::shared_ptr<grpc::ServerCredentials> credentials, int port)
    : health_(std::make_unique<HealthService>(this)) {
  if (credentials == nullptr) credentials = grpc::InsecureServerCredentials();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), credentials, &port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(this);
  builder.RegisterService(health_.get());
  server_ = builder.BuildAndStart();
}

FakeSummarizer::~FakeSummarizer() { Stop(); }

void FakeSummarizer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  server_->Wait();
  server_ = nullptr;
}

std::string FakeSummarizer::address() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeSummarizer::FailNext(std::vector<Failure> failures) {
  absl::MutexLock lock(&mutex_);
  failures_.assign(failures.begin(), failures.end());
}

void FakeSummarizer::BreakManyStreamAfter(int answers) {
  absl::MutexLock lock(&mutex_);
  break_after_ = answers;
}

void FakeSummarizer::SetWordDelay(absl::Duration delay) {
  absl::MutexLock lock(&mutex_);
  word_delay_ = delay;
}

void FakeSummarizer::SetServing(bool serving) {
  absl::MutexLock lock(&mutex_);
  serving_ = serving;
}

int FakeSummarizer::calls() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(arrivals_.size());
}

int FakeSummarizer::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

std::string FakeSummarizer::last_metadata(const std::string& key) const {
  absl::MutexLock lock(&mutex_);
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? "" : found->second;
}

std::vector<absl::Time> FakeSummarizer::arrivals() const {
  absl::MutexLock lock(&mutex_);
  return arrivals_;
}

FakeSummarizer::Failure FakeSummarizer::Enter(const grpc::ServerContext& context, bool* failed) {
  absl::MutexLock lock(&mutex_);
  arrivals_.push_back(absl::Now());
  metadata_.clear();
  for (const auto& [key, value] : context.client_metadata()) {
    metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
  }
  *failed = !failures_.empty();
  if (!*failed) return {};
  Failure failure = failures_.front();
  failures_.pop_front();
  return failure;
}

bool FakeSummarizer::Pause(grpc::ServerContext* context) {
  absl::Duration delay;
  {
    absl::MutexLock lock(&mutex_);
    delay = word_delay_;
  }
  const absl::Time end = absl::Now() + delay;
  while (absl::Now() < end && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  if (!context->IsCancelled()) return true;
  absl::MutexLock lock(&mutex_);
  ++cancelled_;
  return false;
}

grpc::Status FakeSummarizer::Summarize(grpc::ServerContext* context, const v1::SummarizeRequest* request,
                                       v1::SummarizeResponse* response) {
  bool failed;
  const Failure failure = Enter(*context, &failed);
  if (failed) return Fail(context, failure);
  for (size_t i = 0; i < SummaryWords(*request).size(); ++i) {
    if (!Pause(context)) return grpc::Status::CANCELLED;
  }
  FillResponse(*request, response);
  return grpc::Status::OK;
}

grpc::Status FakeSummarizer::StreamSummarize(grpc::ServerContext* context, const v1::SummarizeRequest* request,
                                             grpc::ServerWriter<v1::StreamSummarizeResponse>* writer) {
  bool failed;
  const Failure failure = Enter(*context, &failed);
  if (failed) return Fail(context, failure);
  for (const std::string& word : SummaryWords(*request)) {
    if (!Pause(context)) return grpc::Status::CANCELLED;
    v1::StreamSummarizeResponse message;
    message.set_delta(word);
    writer->Write(message);
    if (word == " BREAK") return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken in the middle");
  }
  v1::StreamSummarizeResponse last;
  FillResponse(*request, last.mutable_result());
  writer->Write(last);
  return grpc::Status::OK;
}

grpc::Status FakeSummarizer::SummarizeMany(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::SummarizeManyResponse, v1::SummarizeRequest>* stream) {
  int answers = 0;
  v1::SummarizeRequest request;
  while (stream->Read(&request)) {
    bool failed;
    const Failure failure = Enter(*context, &failed);
    {
      absl::MutexLock lock(&mutex_);
      if (break_after_ >= 0 && answers == break_after_) {
        break_after_ = -1;
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the stream breaks");
      }
    }
    v1::SummarizeManyResponse answer;
    answer.set_client_request_id(request.client_request_id());
    if (failed) {
      answer.mutable_error()->set_code(failure.code);
      answer.mutable_error()->set_message(failure.message);
      answer.mutable_error()->set_retry_after_ms(std::atoi(failure.pushback.c_str()));
    } else {
      if (!Pause(context)) return grpc::Status::CANCELLED;
      FillResponse(request, answer.mutable_result());
    }
    stream->Write(answer);
    ++answers;
  }
  return grpc::Status::OK;
}

grpc::Status FakeSummarizer::ListModels(grpc::ServerContext* context, const v1::ListModelsRequest*,
                                        v1::ListModelsResponse* response) {
  bool failed;
  const Failure failure = Enter(*context, &failed);
  if (failed) return Fail(context, failure);
  v1::Model* model = response->add_models();
  model->set_name("fake");
  model->set_default_attention_backend("flash");
  v1::Checkpoint* checkpoint = model->add_checkpoints();
  checkpoint->set_name("fake-learned");
  checkpoint->set_context_tokens(1024);
  checkpoint->add_attention_backends("flash");
  return grpc::Status::OK;
}

grpc::Status FakeSummarizer::ListBackends(grpc::ServerContext* context, const v1::ListBackendsRequest*,
                                          v1::ListBackendsResponse* response) {
  bool failed;
  const Failure failure = Enter(*context, &failed);
  if (failed) return Fail(context, failure);
  v1::AttentionBackend* backend = response->add_backends();
  backend->set_name("flash");
  backend->add_models("fake");
  response->set_device("cpu");
  response->set_server_build("fake 1");
  return grpc::Status::OK;
}

}  // namespace precis::testing
