// Requests, options, ids and documents at the edge.
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/server/service_fixture.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using precis::v1::SummarizeRequest;
using precis::v1::SummarizeResponse;

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
  EXPECT_EQ(outcome.response.accounting().energy_joules(), 0.25);
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
  request = Request();
  request.set_too_long(precis::v1::TOO_LONG_CHUNK);
  request.mutable_options()->set_num_beams(4);  // not with a temperature or stop sequences
  request.mutable_options()->set_length_penalty(-0.5f);
  request.mutable_options()->set_early_stopping(precis::v1::EARLY_STOPPING_NEVER);
  ASSERT_TRUE(Call(request).status.ok());
  const auto submitted = engine_->submitted();
  ASSERT_EQ(submitted.size(), 3u);
  EXPECT_EQ(submitted[2].options.num_beams, 4);
  EXPECT_EQ(submitted[2].options.length_penalty, -0.5f);
  EXPECT_EQ(submitted[2].options.early_stopping, runtime::EarlyStopping::kNever);
  EXPECT_EQ(submitted[1].too_long, runtime::TooLong::kTruncate);
  EXPECT_EQ(submitted[2].too_long, runtime::TooLong::kChunk);
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
  EXPECT_EQ(submitted[1].options.num_beams, 1);
  EXPECT_EQ(submitted[1].options.length_penalty, 1);
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
  request.mutable_options()->set_early_stopping(static_cast<precis::v1::EarlyStopping>(7));
  ExpectInvalid(request, "early_stopping is 7");
  request = Request();
  request.mutable_options()->set_num_beams(17);
  ExpectInvalid(request, "num_beams is 17; allowed: 1 (no beam search) to 16");
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

}  // namespace
}  // namespace precis::server
