// The engine on a runner whose steps it may launch before the one before is known.
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace precis::testing {
namespace {

using runtime::EngineOptions;
using runtime::FinishReason;
using runtime::Request;

class EngineAheadTest : public EngineFixture {
 protected:
  void Start(bool launches, float end_of_text_bias, int64_t kv_cache_bytes = int64_t{1} << 20) {
    FakeRunner::Options model = Letters(end_of_text_bias);
    model.launches = launches;
    EngineOptions options;
    options.kv_cache_bytes = kv_cache_bytes;
    StartEngine(model, options);
  }
  static Request Ask(int number, int max_new_tokens = 60) {
    Request request;
    request.document = "Document number " + std::to_string(number) + std::string(number % 19, 'x');
    request.options.max_new_tokens = max_new_tokens;
    request.options.seed = static_cast<uint64_t>(number);
    request.options.temperature = number % 2 == 0 ? 0.0f : 0.9f;
    request.options.min_new_tokens = number % 3 == 0 ? 5 : 0;
    if (number % 5 == 4) request.options.no_repeat_ngram_size = 2;
    if (number % 7 == 6) request.options.stop_sequences = {"q"};
    request.attention_backend = number % 4 == 3 ? "standard" : "flash";
    return request;
  }
  // All at once; their tokens.
  std::vector<std::vector<int32_t>> Answers(int requests) {
    std::vector<std::shared_ptr<Call>> calls;
    for (int i = 0; i < requests; ++i) calls.push_back(Send(engine_.get(), Ask(i, 5 + i * 3 % 56)));
    std::vector<std::vector<int32_t>> tokens;
    for (const auto& call : calls) {
      const auto& result = call->Wait();
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) continue;
      tokens.push_back(result->token_ids);
      EXPECT_EQ(call->streamed(), result->summary);
    }
    return tokens;
  }
};

TEST_F(EngineAheadTest, GivesTheSameTokens) {
  for (const float bias : {-1.0f, 0.2f}) {
    Start(false, bias);
    const auto want = Answers(40);
    Start(true, bias);
    EXPECT_EQ(Answers(40), want);
  }
}

// With pages for a few requests only, pages of those that ended go to others while a step of the ended ones is under way.
TEST_F(EngineAheadTest, GivesTheSameTokensShortOfMemory) {
  Start(false, 0.1f);
  const auto want = Answers(24);
  Start(true, 0.1f, 14 * 4096);
  EXPECT_EQ(Answers(24), want);
}

TEST_F(EngineAheadTest, RunsAheadOfEveryTokenButTheFirstAndTheLast) {
  Start(true, -1);
  const auto result = Answer(Ask(0, 40));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->token_ids.size(), 40u);
  EXPECT_EQ(runner_->steps, 40);
  EXPECT_EQ(runner_->steps_ahead, 39);
  EXPECT_EQ(telemetry_.count("steps"), 40);
  EXPECT_EQ(telemetry_.count("token"), 39);
}

// The step under way when a text ends is run for nothing, and told to nobody.
TEST_F(EngineAheadTest, AnEndCostsOneStep) {
  Start(true, 0.4f);
  const auto result = Answer(Ask(2));
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->finish_reason, FinishReason::kEndOfText);
  const int tokens = static_cast<int>(result->token_ids.size());
  EXPECT_EQ(runner_->steps, tokens + 2);
  EXPECT_EQ(telemetry_.count("steps"), tokens + 1);
}

TEST_F(EngineAheadTest, WaitsWhereTheNextChoiceNeedsTheTokens) {
  Start(true, -1);
  Request request = Ask(0);
  request.options.no_repeat_ngram_size = 3;
  ASSERT_TRUE(Answer(request).ok());
  request.options.no_repeat_ngram_size = 0;
  request.options.repetition_penalty = 1.2f;
  ASSERT_TRUE(Answer(request).ok());
  EXPECT_EQ(runner_->steps_ahead, 0);
}

TEST_F(EngineAheadTest, AStepAheadThatFailsFailsItsRequests) {
  Start(true, -1);
  runner_->on_step = [this](auto) { return runner_->steps == 7 ? absl::InternalError("broken") : absl::OkStatus(); };
  const auto result = Answer(Ask(0));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(Answer(Ask(1)).ok());
  EXPECT_EQ(engine_->load().running, 0);
}

TEST_F(EngineAheadTest, CancellationAndNewcomersEndTheRun) {
  Start(true, -1);
  runner_->on_step = [](auto) {
    absl::SleepFor(absl::Milliseconds(2));  // 900 of them: long enough for what follows
    return absl::OkStatus();
  };
  const auto longest = Send(engine_.get(), Ask(0, 900));
  longest->WaitForDeltas(1);
  EXPECT_TRUE(Answer(Ask(1, 10)).ok());  // joins
  engine_->Cancel(longest->id);
  EXPECT_EQ(longest->Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(telemetry_.count("negative latency"), 0);
}

}  // namespace
}  // namespace precis::testing
