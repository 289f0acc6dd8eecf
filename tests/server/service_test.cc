#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "nlohmann/json.hpp"
#include "server/load_report.h"
#include "server/status_mapping.h"
#include "tests/server/server_fixture.h"
#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using precis::v1::SummarizeRequest;
using precis::v1::SummarizeResponse;

class ServiceTest : public ServerFixture {
 protected:
  struct Outcome {
    grpc::Status status;
    SummarizeResponse response;
    std::unique_ptr<grpc::ClientContext> context = std::make_unique<grpc::ClientContext>();
  };

  Outcome Call(const SummarizeRequest& request, absl::Duration timeout = absl::InfiniteDuration()) {
    Outcome outcome;
    if (timeout != absl::InfiniteDuration()) {
      outcome.context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    }
    outcome.status = stub_->Summarize(outcome.context.get(), request, &outcome.response);
    return outcome;
  }

  void ExpectInvalid(const SummarizeRequest& request, const std::string& message) {
    const Outcome outcome = Call(request);
    EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << outcome.status.error_message();
    EXPECT_THAT(outcome.status.error_message(), HasSubstr(message));
  }
};

TEST_F(ServiceTest, AnswersWithAccountingInReplyAndTrailers) {
  Start();
  SummarizeRequest request = Request();
  request.set_client_request_id("mine");
  request.set_return_token_ids(true);
  request.set_attention_backend("flash_alibi");
  const Outcome outcome = Call(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.response.summary(), "A short summary.");
  EXPECT_EQ(outcome.response.token_ids_size(), 3);
  EXPECT_EQ(outcome.response.model(), "news");
  EXPECT_EQ(outcome.response.checkpoint(), "news-alibi");
  EXPECT_EQ(outcome.response.client_request_id(), "mine");
  EXPECT_EQ(outcome.response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_FORCED);
  EXPECT_EQ(outcome.response.accounting().prompt_tokens(), 11);
  EXPECT_EQ(Trailer(*outcome.context, "precis-prompt-tokens"), "11");
  EXPECT_EQ(Trailer(*outcome.context, "precis-prefill-seconds"), "0.002");
  EXPECT_EQ(Initial(*outcome.context, "precis-attention-backend"), "flash_alibi");
  EXPECT_EQ(Initial(*outcome.context, "precis-assignment-reason"), "forced");
  EXPECT_EQ(metrics_.Count("rpc news flash_alibi none/none OK"), 1) << metrics_.All();
}

TEST_F(ServiceTest, OptionsReachTheEngine) {
  Start();
  SummarizeRequest request = Request();
  auto& options = *request.mutable_options();
  options.set_max_new_tokens(7);
  options.set_min_new_tokens(2);
  options.set_temperature(0.5);
  options.set_top_k(4);
  options.set_top_p(0.9f);
  options.set_seed(1ull << 63);
  options.set_no_repeat_ngram_size(3);
  options.set_repetition_penalty(1.5);
  options.add_stop_sequences("END");
  request.set_too_long(precis::v1::TOO_LONG_REJECT);
  request.set_priority(precis::v1::PRIORITY_HIGH);
  ASSERT_TRUE(Call(request, absl::Seconds(30)).status.ok());
  ASSERT_TRUE(Call(Request()).status.ok());
  const auto submitted = engine_->submitted();
  ASSERT_EQ(submitted.size(), 2u);
  EXPECT_EQ(submitted[0].options.max_new_tokens, 7);
  EXPECT_EQ(submitted[0].options.min_new_tokens, 2);
  EXPECT_EQ(submitted[0].options.temperature, 0.5f);
  EXPECT_EQ(submitted[0].options.top_k, 4);
  EXPECT_EQ(submitted[0].options.top_p, 0.9f);
  EXPECT_EQ(submitted[0].options.seed, 1ull << 63);
  EXPECT_EQ(submitted[0].options.no_repeat_ngram_size, 3);
  EXPECT_EQ(submitted[0].options.repetition_penalty, 1.5f);
  EXPECT_EQ(submitted[0].options.stop_sequences, std::vector<std::string>{"END"});
  EXPECT_EQ(submitted[0].too_long, runtime::TooLong::kReject);
  EXPECT_EQ(submitted[0].priority, runtime::Priority::kHigh);
  EXPECT_NEAR(absl::ToDoubleSeconds(submitted[0].deadline - absl::Now()), 30, 15);
  EXPECT_EQ(submitted[1].options.max_new_tokens, 128);
  EXPECT_EQ(submitted[1].priority, runtime::Priority::kNormal);
  EXPECT_EQ(submitted[1].deadline, absl::InfiniteFuture());
}

TEST_F(ServiceTest, BadRequestsSayWhatIsAllowed) {
  configuration_.options.max_document_bytes = 1000;
  Start();
  ExpectInvalid(Request(""), "document is empty");
  ExpectInvalid(Request("ab\xff"), "offset 2");
  ExpectInvalid(Request(std::string(1001, 'x')), "1001 bytes; this server takes at most 1000");
  SummarizeRequest request = Request();
  request.set_unit_id(std::string(257, 'u'));
  ExpectInvalid(request, "unit_id has 257 bytes; at most 256");
  request = Request();
  request.set_client_request_id(std::string(129, 'u'));
  ExpectInvalid(request, "client_request_id has 129 bytes");
  request = Request();
  request.set_too_long(static_cast<precis::v1::TooLong>(9));
  ExpectInvalid(request, "too_long is 9");
  request = Request();
  request.set_priority(static_cast<precis::v1::Priority>(-1));
  ExpectInvalid(request, "priority is -1");
  request = Request();
  request.set_attention_backend("flush");
  ExpectInvalid(request, "flush");
  request.set_attention_backend("flash_alibi");
  request.set_model("plain");
  ExpectInvalid(request, "plain");
  request = Request();
  request.mutable_options()->set_max_new_tokens(0);
  ExpectInvalid(request, "max_new_tokens");
  request.mutable_options()->set_max_new_tokens(5);
  request.mutable_options()->set_top_p(0);
  ExpectInvalid(request, "top_p");
  request = Request();
  request.set_model("none-such");
  EXPECT_EQ(Call(request).status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(engine_->submitted().empty());
}

TEST_F(ServiceTest, AMessageThatIsTooLargeIsRefusedByGrpc) {
  configuration_.options.max_message_bytes = 2 << 20;
  Start();
  EXPECT_EQ(Call(Request(std::string(3 << 20, 'x'))).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Call(Request()).status.ok());
}

TEST_F(ServiceTest, FullQueuesCarryRetryInfo) {
  Start();
  engine_->RefuseWith(absl::ResourceExhaustedError("the queue holds 8 requests, which is the limit"));
  const Outcome outcome = Call(Request());
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Trailer(*outcome.context, "grpc-retry-pushback-ms"), "1500");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(outcome.status.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
  absl::Status never = absl::ResourceExhaustedError("the request can never fit");
  never.SetPayload(kNoRetryPayload, absl::Cord());
  engine_->RefuseWith(never);
  EXPECT_EQ(Trailer(*Call(Request()).context, "grpc-retry-pushback-ms"), "-1");
}

TEST_F(ServiceTest, BugsAreInternalWithAnIdThatIsInTheLog) {
  Start();
  for (const absl::Status& bug : {absl::InternalError("secret cause"), absl::UnknownError("secret cause"),
                                  absl::DataLossError("secret cause"), absl::AbortedError("secret cause")}) {
    engine_->FailWith(bug);
    const Outcome outcome = Call(Request());
    ASSERT_EQ(outcome.status.error_code(), grpc::StatusCode::INTERNAL);
    const std::string message = outcome.status.error_message();
    EXPECT_THAT(message, ::testing::Not(HasSubstr("secret")));
    const std::string id = message.substr(std::string("internal error ").size(), 16);
    EXPECT_THAT(LogText(), HasSubstr("\"error_id\":\"" + id + "\""));
  }
  EXPECT_THAT(LogText(), HasSubstr("secret cause"));
  EXPECT_EQ(metrics_.Count("rpc news flash none/none INTERNAL"), 4) << metrics_.All();
}

TEST_F(ServiceTest, StatusesOfTheApiPassUnchanged) {
  Start();
  using Code = grpc::StatusCode;
  const std::vector<std::pair<absl::Status, Code>> cases = {
      {absl::InvalidArgumentError("m"), Code::INVALID_ARGUMENT},
      {absl::NotFoundError("m"), Code::NOT_FOUND},
      {absl::DeadlineExceededError("m"), Code::DEADLINE_EXCEEDED},
      {absl::UnavailableError("m"), Code::UNAVAILABLE},
      {absl::FailedPreconditionError("m"), Code::FAILED_PRECONDITION},
      {absl::PermissionDeniedError("m"), Code::PERMISSION_DENIED},
      {absl::CancelledError("m"), Code::CANCELLED}};
  for (const auto& [status, code] : cases) {
    engine_->FailWith(status);
    const Outcome outcome = Call(Request());
    EXPECT_EQ(outcome.status.error_code(), code);
    EXPECT_EQ(outcome.status.error_message(), "m");
  }
}

TEST_F(ServiceTest, DeadlinesAndCancellationReachTheEngine) {
  Start();
  engine_->Hold(true);
  EXPECT_EQ(Call(Request(), absl::Milliseconds(100)).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0; }));
  EXPECT_TRUE(Eventually([&] { return metrics_.Count("rpc news flash none/none DEADLINE_EXCEEDED") == 1; })) << metrics_.All();
  grpc::ClientContext context;
  std::thread canceller([&] {
    EXPECT_TRUE(Eventually([&] { return engine_->live() == 1; }));
    context.TryCancel();
  });
  SummarizeResponse response;
  EXPECT_EQ(stub_->Summarize(&context, Request(), &response).error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0 && engine_->cancelled() == 1; }));
}

// The client's clock runs out a little before the server's; what it then resets is no cancellation.
TEST_F(ServiceTest, AnExpiredCallIsNeverCountedAsCancelled) {
  Start();
  engine_->Hold(true);
  constexpr int kCalls = 60;
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_EQ(Call(Request(), absl::Milliseconds(5 + i % 7)).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0; }));
  EXPECT_EQ(metrics_.Count("rpc news flash none/none CANCELLED"), 0) << metrics_.All();
  EXPECT_EQ(engine_->cancelled(), 0);
}

TEST_F(ServiceTest, StreamsDeltasThatJoinToTheSummary) {
  Start();
  grpc::ClientContext context;
  auto reader = stub_->StreamSummarize(&context, Request());
  std::string text;
  precis::v1::StreamSummarizeResponse message;
  int results = 0;
  while (reader->Read(&message)) {
    EXPECT_EQ(results, 0) << "a message after the result";
    text += message.delta();
    results += message.has_result() ? 1 : 0;
    if (message.has_result()) {
      EXPECT_EQ(message.result().summary(), "A short summary.");
    }
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(results, 1);
  EXPECT_EQ(text, "A short summary.");
  EXPECT_EQ(Initial(context, "precis-attention-backend"), "flash");
  EXPECT_EQ(Trailer(context, "precis-new-tokens"), "3");
}

TEST_F(ServiceTest, StreamErrorsEndTheStream) {
  Start();
  engine_->FailWith(absl::InvalidArgumentError("no"));
  grpc::ClientContext context;
  auto reader = stub_->StreamSummarize(&context, Request());
  precis::v1::StreamSummarizeResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext second;
  reader = stub_->StreamSummarize(&second, Request(""));
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, ASlowReaderBlocksNobodyAndLosesNothing) {
  Start();
  // More than gRPC buffers for a stream whose reader doesn't read.
  const std::string delta(1500, 'x');
  engine_->SetDeltas(std::vector<std::string>(1000, delta));
  grpc::ClientContext context;
  auto reader = stub_->StreamSummarize(&context, Request());
  EXPECT_TRUE(Eventually([&] { return engine_->submitted().size() == 1 && engine_->live() == 0; }));
  engine_->SetDeltas({"quick"});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Call(Request(), absl::Seconds(10)).response.summary(), "quick");
  size_t bytes = 0;
  precis::v1::StreamSummarizeResponse message;
  int messages = 0;
  while (reader->Read(&message)) {
    bytes += message.delta().size();
    ++messages;
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(bytes, delta.size() * 1000);
  EXPECT_LT(messages, 500) << "deltas were not joined while a write was pending";
}

TEST_F(ServiceTest, AStreamWhoseClientLeavesIsCancelled) {
  Start();
  engine_->Hold(true);
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    auto reader = stub_->StreamSummarize(&context, Request());
    context.TryCancel();
    precis::v1::StreamSummarizeResponse message;
    EXPECT_FALSE(reader->Read(&message));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0; }));
}

TEST_F(ServiceTest, LargeDocumentsTakeTheOtherWayIn) {
  Start();
  const Outcome outcome = Call(Request(std::string(500'000, 'x')));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.response.accounting().prompt_tokens(), 500'000);
}

TEST_F(ServiceTest, IdsAreEchoedAndLoggedAndDocumentsAreNot) {
  Start();
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "request-7");
  context.AddMetadata("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  SummarizeResponse response;
  ASSERT_TRUE(stub_->Summarize(&context, Request("very private words"), &response).ok());
  EXPECT_EQ(Initial(context, "x-request-id"), "request-7");
  EXPECT_EQ(Initial(context, "traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  const std::string log = LogText();
  EXPECT_THAT(log, HasSubstr("\"request_id\":\"request-7\""));
  EXPECT_THAT(log, HasSubstr("\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\""));
  EXPECT_THAT(log, ::testing::Not(HasSubstr("private")));
  EXPECT_THAT(log, ::testing::Not(HasSubstr("short summary")));
  for (size_t at = 0, end; (end = log.find('\n', at)) != std::string::npos; at = end + 1) {
    EXPECT_TRUE(nlohmann::json::accept(log.substr(at, end - at))) << log.substr(at, end - at);
  }
  grpc::ClientContext bad;
  bad.AddMetadata("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01");
  ASSERT_TRUE(stub_->Summarize(&bad, Request(), &response).ok());
  EXPECT_EQ(Initial(bad, "traceparent"), "");
  EXPECT_EQ(Initial(bad, "x-request-id").size(), 16u);
}

TEST_F(ServiceTest, DocumentsAreLoggedWhenAskedFor) {
  configuration_.options.log_documents = true;
  Start();
  ASSERT_TRUE(Call(Request("public words")).status.ok());
  EXPECT_THAT(LogText(), HasSubstr("public words"));
  EXPECT_THAT(LogText(), HasSubstr("short summary"));
}

// That the trailer is sent is shown with a Go client (tests/integration): C-core keeps it from its applications.
TEST_F(ServiceTest, LoadReportsDescribeTheEngine) {
  FakeEngine engine;
  LoadReporter reporter;
  xds::data::orca::v3::OrcaLoadReport report;
  ASSERT_TRUE(report.ParseFromString(reporter.Report(&engine)));
  EXPECT_EQ(report.mem_utilization(), 0.25);
  EXPECT_EQ(report.named_metrics().at("kv_cache_utilization"), 0.25);
  EXPECT_EQ(report.named_metrics().count("queue_depth"), 1u);
  EXPECT_EQ(report.named_metrics().count("queue_seconds"), 1u);
  EXPECT_GE(report.application_utilization(), 0.25);
}

TEST_F(ServiceTest, ListsModelsAndBackends) {
  Start();
  grpc::ClientContext first, second;
  precis::v1::ListModelsResponse models;
  ASSERT_TRUE(stub_->ListModels(&first, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 2);
  EXPECT_EQ(models.models(0).name(), "news");
  EXPECT_EQ(models.models(0).default_attention_backend(), "flash");
  ASSERT_EQ(models.models(0).checkpoints_size(), 2);
  EXPECT_EQ(models.models(0).checkpoints(1).positions(), "alibi");
  EXPECT_EQ(models.models(0).checkpoints(1).weights_dtype(), "bf16");
  EXPECT_EQ(models.models(0).checkpoints(0).attention_backends_size(), 2);
  precis::v1::ListBackendsResponse backends;
  ASSERT_TRUE(stub_->ListBackends(&second, {}, &backends).ok());
  ASSERT_EQ(backends.backends_size(), static_cast<int>(kernels::AttentionVariants().size()));
  for (const auto& backend : backends.backends()) {
    EXPECT_EQ(backend.models_size(), backend.positions() == "alibi" ? 1 : 2) << backend.name();
  }
  EXPECT_EQ(backends.device(), "cpu");
}

TEST_F(ServiceTest, ExperimentsAssignByUnitAndLabelTheEngine) {
  Experiment experiment;
  experiment.name = "e";
  experiment.salt = "s";
  experiment.arms = {{"control", 1, "standard", ""}, {"alibi", 1, "flash_alibi", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  std::map<std::string, int> arms;
  for (int i = 0; i < 40; ++i) {
    SummarizeRequest request = Request();
    request.set_unit_id(StrCat("unit-", i));
    const Arm& expected = ChooseArm(experiment, request.unit_id());
    const Outcome outcome = Call(request);
    ASSERT_TRUE(outcome.status.ok());
    EXPECT_EQ(outcome.response.assignment().arm(), expected.name);
    EXPECT_EQ(outcome.response.assignment().experiment(), "e");
    EXPECT_EQ(outcome.response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_ASSIGNED);
    EXPECT_EQ(outcome.response.assignment().config_generation(), 1u);
    EXPECT_EQ(outcome.response.attention_backend(), expected.attention_backend);
    EXPECT_EQ(Initial(*outcome.context, "precis-arm"), expected.name);
    EXPECT_EQ(engine_->submitted().back().labels.arm, expected.name);
    ++arms[expected.name];
  }
  EXPECT_EQ(arms.size(), 2u);
  EXPECT_EQ(metrics_.Count("assigned e/control assigned"), arms["control"]);
  EXPECT_EQ(metrics_.Count("rpc news flash_alibi e/alibi OK"), arms["alibi"]) << metrics_.All();

  SummarizeRequest forced = Request();
  forced.set_attention_backend("flash");
  const Outcome outcome = Call(forced);
  EXPECT_EQ(outcome.response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_FORCED);
  EXPECT_EQ(outcome.response.attention_backend(), "flash");
  EXPECT_EQ(engine_->submitted().back().labels.arm, "none");
  EXPECT_EQ(metrics_.Count("assigned e/none forced"), 1) << metrics_.All();

  // "plain" has no ALiBi checkpoint: units of that arm get the model's default and don't count for the arm.
  int fallbacks = 0;
  for (int i = 0; i < 40; ++i) {
    SummarizeRequest request = Request();
    request.set_unit_id(StrCat("unit-", i));
    request.set_model("plain");
    const Outcome plain = Call(request);
    ASSERT_TRUE(plain.status.ok()) << plain.status.error_message();
    if (plain.response.assignment().reason() != precis::v1::ASSIGNMENT_REASON_FALLBACK) continue;
    ++fallbacks;
    EXPECT_EQ(plain.response.assignment().arm(), "alibi");
    EXPECT_EQ(plain.response.attention_backend(), "flash");
    EXPECT_EQ(engine_->submitted().back().labels.arm, "none");
  }
  EXPECT_EQ(fallbacks, arms["alibi"]);
}

TEST_F(ServiceTest, AnExperimentOnAModelTakesRequestsThatItWouldServe) {
  Experiment experiment;
  experiment.name = "e";
  experiment.model = "news";
  experiment.arms = {{"a", 1, "standard", ""}, {"b", 1, "flash", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  EXPECT_EQ(Call(Request()).response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_ASSIGNED);
  SummarizeRequest other = Request();
  other.set_model("plain");
  EXPECT_EQ(Call(other).response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_NONE);
}

TEST_F(ServiceTest, TheUnitMayComeFromMetadata) {
  Experiment experiment;
  experiment.name = "e";
  experiment.arms = {{"a", 1, "standard", ""}, {"b", 1, "flash", ""}};
  configuration_.experiments.experiments = {experiment};
  Start();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    context.AddMetadata("precis-unit-id", StrCat("u", i));
    SummarizeRequest request = Request();
    request.set_client_request_id("ignored");
    SummarizeResponse response;
    ASSERT_TRUE(stub_->Summarize(&context, request, &response).ok());
    EXPECT_EQ(response.assignment().arm(), ChooseArm(experiment, StrCat("u", i)).name);
  }
}

TEST_F(ServiceTest, ManyAnswersEveryRequestOnce) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->SummarizeMany(&context);
  constexpr int kRequests = 500;
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) {
      SummarizeRequest request = Request(i % 5 == 0 ? "" : "Text.");
      request.set_client_request_id(StrCat(i));
      EXPECT_TRUE(stream->Write(request));
    }
    stream->WritesDone();
  });
  std::map<std::string, int> seen;
  precis::v1::SummarizeManyResponse answer;
  while (stream->Read(&answer)) {
    ++seen[answer.client_request_id()];
    const bool bad = std::stoi(answer.client_request_id()) % 5 == 0;
    EXPECT_EQ(answer.has_error(), bad);
    if (bad) {
      EXPECT_EQ(answer.error().code(), grpc::StatusCode::INVALID_ARGUMENT);
    }
    if (!bad) {
      EXPECT_EQ(answer.result().summary(), "A short summary.");
    }
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(seen.size(), static_cast<size_t>(kRequests));
  for (const auto& [id, count] : seen) EXPECT_EQ(count, 1) << id;
  EXPECT_EQ(Trailer(context, "precis-requests"), StrCat(kRequests));
}

TEST_F(ServiceTest, ManyReadsNoFurtherThanItsLimit) {
  configuration_.options.many_in_flight = 4;
  Start();
  engine_->Hold(true);
  grpc::ClientContext context;
  auto stream = stub_->SummarizeMany(&context);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(stream->Write(Request()));
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 4; }));
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(engine_->live(), 4);
  engine_->Hold(false);
  stream->WritesDone();
  int answers = 0;
  precis::v1::SummarizeManyResponse answer;
  while (stream->Read(&answer)) ++answers;
  EXPECT_EQ(answers, 10);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ServiceTest, ManyTellsWhenToRetry) {
  Start();
  engine_->RefuseWith(absl::ResourceExhaustedError("full"));
  grpc::ClientContext context;
  auto stream = stub_->SummarizeMany(&context);
  stream->Write(Request());
  stream->WritesDone();
  precis::v1::SummarizeManyResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(answer.error().retry_after_ms(), 1500);
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ServiceTest, ManyWhoseClientLeavesIsCancelled) {
  Start();
  engine_->Hold(true);
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    auto stream = stub_->SummarizeMany(&context);
    for (int j = 0; j < 5; ++j) stream->Write(Request());
    if (i % 2 == 0) {
      EXPECT_TRUE(Eventually([&] { return engine_->live() == 5; }));
    }
    context.TryCancel();
    stream->Finish();
    EXPECT_TRUE(Eventually([&] { return engine_->live() == 0; }));
  }
}

}  // namespace
}  // namespace precis::server
