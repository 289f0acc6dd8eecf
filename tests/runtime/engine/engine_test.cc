// The engine on the fake model: answers, refusals, ends.
#include "runtime/engine.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace precis::testing {
namespace {

using runtime::Engine;
using runtime::EngineOptions;
using runtime::FinishReason;
using runtime::Request;
using ::testing::HasSubstr;

class EngineTest : public EngineFixture {
 protected:
  void Start(FakeRunner::Options model = Letters(), EngineOptions options = {}) {
    StartEngine(model, options);
  }
  static FakeRunner::Options Letters() { return EngineFixture::Letters(-1); }
  static Request Ask(const std::string& document, int max_new_tokens = 16) {
    Request request;
    request.document = document;
    request.options.max_new_tokens = max_new_tokens;
    return request;
  }
};

TEST_F(EngineTest, AnswersWithTextTokensAndAccounting) {
  Start();
  const auto call = Send(engine_.get(), Ask("A document.", 40));
  const auto& result = call->Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->token_ids.size(), 40u);
  EXPECT_EQ(result->finish_reason, FinishReason::kMaxNewTokens);
  EXPECT_EQ(call->streamed(), result->summary);
  EXPECT_EQ(result->model, "fake");
  EXPECT_EQ(result->attention_backend, "flash");
  EXPECT_EQ(result->checkpoint, "checkpoint");
  const auto& cost = result->accounting;
  EXPECT_EQ(cost.prompt_tokens, 11 + 7);  // and "\nTL;DR:"
  EXPECT_EQ(cost.new_tokens, 40);
  EXPECT_EQ(cost.truncated_tokens, 0);
  EXPECT_EQ(cost.kv_cache_peak_bytes, 4 * 4096);  // the last token's keys are never needed: 57 tokens
  EXPECT_GT(cost.kv_block_seconds, 0);
  EXPECT_LT(cost.kv_block_seconds, 4 * absl::ToDoubleSeconds(cost.total));
  EXPECT_EQ(cost.attention_workspace_peak_bytes, 256);
  EXPECT_EQ(cost.weights_bytes, 1000);
  EXPECT_GT(cost.prefill, absl::ZeroDuration());
  EXPECT_GT(cost.decode, absl::ZeroDuration());
  EXPECT_EQ(cost.time_to_first_token, cost.queue + cost.prefill);
  EXPECT_EQ(cost.total, cost.time_to_first_token + cost.decode);
}

TEST_F(EngineTest, EnergyIsUnknownUntilPowerIs) {
  Start();
  EXPECT_EQ(Answer(Ask("A document."))->accounting.energy_joules, std::nullopt);
  engine_->SetPower(200);
  const auto result = Answer(Ask("Another document.", 40));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->accounting.energy_joules.has_value());
  EXPECT_GT(*result->accounting.energy_joules, 0);
  EXPECT_LE(*result->accounting.energy_joules, 200 * absl::ToDoubleSeconds(result->accounting.prefill + result->accounting.decode));
}

// Whoever shares steps shares their energy: together no more than the power times the time in which they ran.
TEST_F(EngineTest, RequestsShareTheEnergyOfTheirSteps) {
  Start();
  engine_->SetPower(1000);
  const absl::Time start = absl::Now();
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 8; ++i) calls.push_back(Send(engine_.get(), Ask("Document " + std::to_string(i), 30)));
  double joules = 0;
  for (const auto& call : calls) joules += call->Wait()->accounting.energy_joules.value_or(-1e9);
  EXPECT_GT(joules, 0);
  EXPECT_LE(joules, 1000 * absl::ToDoubleSeconds(absl::Now() - start));
}

TEST_F(EngineTest, TellsTelemetryEverythingOnce) {
  Start();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Answer(Ask("The same document, of more than sixteen bytes.", 5)).ok());
  engine_->Drain(absl::Seconds(10));
  EXPECT_EQ(telemetry_.count("scheduled"), 3);
  EXPECT_EQ(telemetry_.count("first"), 3);
  EXPECT_EQ(telemetry_.count("token"), 3 * 4);
  EXPECT_EQ(telemetry_.count("finished OK max_new_tokens"), 3);
  EXPECT_EQ(telemetry_.count("device cpu"), 3);
  EXPECT_EQ(telemetry_.count("prefix prompt"), 3 * 53);
  EXPECT_EQ(telemetry_.count("prefix cached"), 2 * 48);
  EXPECT_EQ(telemetry_.count("prefill tokens"), 53 + 2 * 5);
  EXPECT_EQ(telemetry_.count("decode tokens"), 3 * 4);
  EXPECT_GT(telemetry_.count("timed flash"), 0);
  engine_.reset();
  EXPECT_EQ(telemetry_.gauges().kv_bytes_used, 0);
  EXPECT_EQ(telemetry_.gauges().kv_bytes_peak, 4 * 4096);
  EXPECT_EQ(telemetry_.gauges().weights_bytes, 1000);
}

TEST_F(EngineTest, EndOfTextEndsAndIsNoToken) {
  auto model = Letters();
  model.end_of_text_bias = 0.5;
  Start(model);
  auto request = Ask("Some document", 100);
  const auto early = Answer(request);
  ASSERT_TRUE(early.ok());
  EXPECT_EQ(early->finish_reason, FinishReason::kEndOfText);
  EXPECT_LT(early->token_ids.size(), 90u);
  EXPECT_THAT(early->token_ids, ::testing::Not(::testing::Contains(FakeTokenizer::kEndOfText)));
  EXPECT_EQ(early->accounting.new_tokens, static_cast<int>(early->token_ids.size()));
  request.options.min_new_tokens = 90;
  const auto late = Answer(request);
  ASSERT_TRUE(late.ok());
  EXPECT_GE(late->token_ids.size(), 90u);
  EXPECT_TRUE(std::equal(early->token_ids.begin(), early->token_ids.end(), late->token_ids.begin()));
}

TEST_F(EngineTest, StopSequenceEndsTheSummaryBeforeIt) {
  Start();
  auto request = Ask("Some document", 60);
  const auto whole = Answer(request);
  ASSERT_TRUE(whole.ok());
  const std::string stop = whole->summary.substr(20, 4);
  request.options.stop_sequences = {"never this", stop};
  const auto call = Send(engine_.get(), request);
  const auto& result = call->Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kStopSequence);
  EXPECT_EQ(result->summary, whole->summary.substr(0, whole->summary.find(stop)));
  EXPECT_EQ(call->streamed(), result->summary);
}

TEST_F(EngineTest, TruncatesTheDocumentOnly) {
  auto model = Letters();
  model.context_tokens = 100;
  Start(model);
  std::vector<int32_t> last_prompt;
  runner_->on_logits = [&](const runtime::StepRow& row, auto) {
    last_prompt.assign(row.sampling->prompt.begin(), row.sampling->prompt.end());
  };
  const auto result = Answer(Ask(std::string(200, 'd'), 30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->accounting.truncated_tokens, 200 - (100 - 30 - 7));
  EXPECT_EQ(result->accounting.prompt_tokens, 70);
  EXPECT_EQ(FakeTokenizer().DecodeBytes(last_prompt), std::string(63, 'd') + "\nTL;DR:");
}

// Prompt and max_new_tokens fill the context to the last token, and generation runs to its end there.
TEST_F(EngineTest, TheContextMayBeFilledToTheLastToken) {
  auto model = Letters();
  model.context_tokens = 100;
  Start(model);
  for (const int max_new : {1, 30, 92}) {  // of 100, 7 are the template's and one is the document's
    const auto result = Answer(Ask(std::string(200, 'd'), max_new));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->accounting.prompt_tokens, 100 - max_new);
    EXPECT_EQ(result->accounting.new_tokens, max_new);
    EXPECT_EQ(result->finish_reason, FinishReason::kMaxNewTokens);
  }
  for (const auto policy : {runtime::TooLong::kTruncate, runtime::TooLong::kReject}) {
    auto request = Ask("d", 93);
    request.too_long = policy;
    const auto status = Answer(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("max_new_tokens is 93"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("Ask for at most 92 new tokens"));
  }
}

TEST_F(EngineTest, RefusalsSayWhatIsWrong) {
  auto model = Letters();
  model.context_tokens = 100;
  EngineOptions options;
  options.kv_cache_bytes = 5 * 4096;
  Start(model, options);
  auto request = Ask(std::string(200, 'd'), 30);
  request.too_long = runtime::TooLong::kReject;
  auto status = Answer(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("200 tokens"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 63"));

  status = Answer(Ask("", 5)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("empty"));

  status = Answer(Ask("x", 95)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 92"));
  EXPECT_EQ(Answer(Ask("x", 101)).status().code(), absl::StatusCode::kInvalidArgument);

  request = Ask("x");
  request.attention_backend = "flash_alibi";
  EXPECT_EQ(Answer(request).status().code(), absl::StatusCode::kInvalidArgument);
  request = Ask("x");
  request.model = "other";
  EXPECT_EQ(Answer(request).status().code(), absl::StatusCode::kNotFound);
  request = Ask("x");
  request.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(Answer(request).status().code(), absl::StatusCode::kDeadlineExceeded);

  // 100 tokens never fit into five blocks.
  status = Answer(Ask(std::string(200, 'd'), 30)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("20480"));
  EXPECT_EQ(telemetry_.count("rejected memory"), 1);
  EXPECT_EQ(telemetry_.count("rejected deadline"), 1);
  EXPECT_TRUE(Answer(Ask("This one fits", 5)).ok());
}

TEST_F(EngineTest, CreateRefusesNonsense) {
  EngineOptions options;
  options.kv_cache_bytes = 4095;
  auto engine = Engine::Create(FakeCatalog({{"c", Letters(), {"flash"}}}, nullptr), options, nullptr);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.max_step_tokens = 0;
  engine = Engine::Create(FakeCatalog({{"c", Letters(), {"flash"}}}, nullptr), options, nullptr);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineTest, QueueBoundsHold) {
  EngineOptions options;
  options.max_queued_requests = 3;
  options.max_queued_tokens = 100;
  Start(Letters(), options);
  GateSteps();
  const auto running = Send(engine_.get(), Ask("first"));
  gate_.AwaitWaiting();
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 3; ++i) calls.push_back(Send(engine_.get(), Ask("x")));
  EXPECT_EQ(engine_->load().waiting[static_cast<int>(runtime::Priority::kNormal)], 3);
  EXPECT_EQ(engine_->load().waiting_tokens, 3 * 8);
  const auto refused = Send(engine_.get(), Ask("x"));
  EXPECT_EQ(refused->Wait().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(engine_->load().queue_estimate, absl::ZeroDuration());
  engine_->Cancel(calls[0]->id);
  EXPECT_EQ(Send(engine_.get(), Ask(std::string(80, 'x')))->Wait().status().code(),
            absl::StatusCode::kResourceExhausted);
  gate_.Open();
  for (auto& call : calls) call->Wait();
  EXPECT_EQ(telemetry_.count("rejected queue_full"), 1);
  EXPECT_EQ(telemetry_.count("rejected queue_tokens"), 1);
}

TEST_F(EngineTest, GaugesAreSharedOutByModelAndBackend) {
  Start();
  GateSteps();
  const auto running = Send(engine_.get(), Ask("first"));
  gate_.AwaitWaiting();
  const auto waiting = Send(engine_.get(), Ask("second"));
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  const auto both_are_seen = [](const std::vector<runtime::GaugeSnapshot::Share>& shares) {
    return !shares.empty() && shares[0].running == 1 && shares[0].waiting[1] == 1;
  };
  auto shares = telemetry_.shares();  // may be of before the first was admitted
  while (!both_are_seen(shares) && absl::Now() < limit) {
    absl::SleepFor(absl::Milliseconds(5));
    shares = telemetry_.shares();
  }
  ASSERT_EQ(shares.size(), 1u);
  EXPECT_EQ(shares[0].model, "fake");
  EXPECT_EQ(shares[0].attention_backend, "flash");
  EXPECT_EQ(shares[0].running, 1);
  EXPECT_EQ(shares[0].waiting[static_cast<int>(runtime::Priority::kNormal)], 1);
  EXPECT_GT(shares[0].kv_bytes, 0);
  gate_.Open();
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_TRUE(waiting->Wait().ok());
}

TEST_F(EngineTest, AFailedStepFailsItsRequestsAndNothingElse) {
  Start();
  std::atomic<bool> fail = true;
  runner_->on_step = [&](auto) { return fail ? absl::InternalError("broken kernel") : absl::OkStatus(); };
  const auto status = Answer(Ask("x")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("broken kernel"));
  fail = false;
  EXPECT_TRUE(Answer(Ask("x")).ok());
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
}

TEST_F(EngineTest, PriorityGoesFirst) {
  EngineOptions options;
  options.max_batch_rows = 1;
  Start(Letters(), options);
  GateSteps();
  Mutex mu;
  std::string order;
  const auto send = [&](char name, runtime::Priority priority) {
    auto request = Ask("x", 2);
    request.priority = priority;
    ASSERT_TRUE(engine_->Submit(request, {nullptr, [&, name](auto) {
                                            MutexLock lock(&mu);
                                            order += name;
                                          }}).ok());
  };
  send('0', runtime::Priority::kLow);
  gate_.AwaitWaiting();
  send('l', runtime::Priority::kLow);
  send('n', runtime::Priority::kNormal);
  send('h', runtime::Priority::kHigh);
  gate_.Open();
  engine_->Drain(absl::Seconds(30));
  MutexLock lock(&mu);
  EXPECT_EQ(order, "0hnl");
}

}  // namespace
}  // namespace precis::testing
