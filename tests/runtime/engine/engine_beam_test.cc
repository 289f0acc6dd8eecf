// Beam searches through the engine on the fake model: one request to the outside.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace precis::testing {
namespace {

using runtime::Engine;
using runtime::EngineOptions;
using runtime::Request;
using ::testing::HasSubstr;

class EngineBeamTest : public EngineFixture {
 protected:
  void Start(EngineOptions options = {}) {
    FakeRunner::Options model;
    model.letters_only = true;
    StartEngine(model, options);
  }
  static Request Ask(int beams, int max_new_tokens = 40) {
    Request request;
    request.document = "A document of forty-odd letters, more or less.";
    request.options.max_new_tokens = max_new_tokens;
    request.options.min_new_tokens = max_new_tokens;
    request.options.num_beams = beams;
    return request;
  }
  void ExpectRefused(const Request& request, absl::StatusCode code, const std::string& message) {
    const auto call = Send(engine_.get(), request);
    EXPECT_EQ(call->Wait().status().code(), code);
    EXPECT_THAT(std::string(call->Wait().status().message()), HasSubstr(message));
  }
};

TEST_F(EngineBeamTest, OneAnswerOneDeltaOneAccount) {
  Start();
  const auto single = Send(engine_.get(), Ask(1))->Wait();
  const auto call = Send(engine_.get(), Ask(5));
  const auto& result = call->Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->token_ids.size(), 40u);
  EXPECT_NE(result->token_ids, single->token_ids);
  EXPECT_EQ(call->streamed(), result->summary);
  EXPECT_EQ(call->deltas(), 1);
  EXPECT_EQ(result->finish_reason, runtime::FinishReason::kMaxNewTokens);
  EXPECT_EQ(result->accounting.new_tokens, 40);
  EXPECT_GT(result->accounting.kv_cache_peak_bytes, single->accounting.kv_cache_peak_bytes);
  EXPECT_LT(result->accounting.kv_cache_peak_bytes, 5 * single->accounting.kv_cache_peak_bytes);  // the prompt is shared
  EXPECT_GT(result->accounting.decode, absl::ZeroDuration());
  EXPECT_EQ(telemetry_.count("finished OK max_new_tokens"), 2);
  EXPECT_EQ(telemetry_.count("first"), 2);
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
}

TEST_F(EngineBeamTest, RefusalsSayWhatToDo) {
  EngineOptions options;
  options.max_batch_rows = 6;
  options.kv_cache_bytes = 4096 * 20;
  Start(options);
  Request request = Ask(4);
  request.options.temperature = .5;
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "Set temperature to 0, or num_beams to 1");
  request = Ask(4);
  request.options.stop_sequences = {"END"};
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "Drop them, or set num_beams to 1");
  ExpectRefused(Ask(7), absl::StatusCode::kInvalidArgument, "num_beams is 7; this server runs at most 6 sequences at once");
  ExpectRefused(Ask(17), absl::StatusCode::kInvalidArgument, "num_beams is 17; allowed: 1 (no beam search) to 16");
  ExpectRefused(Ask(0), absl::StatusCode::kInvalidArgument, "num_beams is 0");
  request = Ask(2);
  request.options.length_penalty = 11;
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "length_penalty is 11; allowed: -10 to 10");
  ExpectRefused(Ask(6, 100), absl::StatusCode::kResourceExhausted, "of each of 6 beams");
  EXPECT_TRUE(Send(engine_.get(), Ask(6, 20))->Wait().ok());
}

TEST_F(EngineBeamTest, CancelFreesAllBeams) {
  Start();
  runner_->on_step = [this](auto) {
    gate_.Pass();
    return absl::OkStatus();
  };
  gate_.Open();
  const auto call = Send(engine_.get(), Ask(8, 400));
  while (telemetry_.count("token") < 20) absl::SleepFor(absl::Milliseconds(1));
  gate_.Shut();
  gate_.AwaitWaiting();
  engine_->Cancel(call->id);
  gate_.Open();
  EXPECT_TRUE(absl::IsCancelled(call->Wait().status()));
  EXPECT_EQ(call->streamed(), "");
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
  EXPECT_EQ(telemetry_.count("cancelled decode"), 1);
}

TEST_F(EngineBeamTest, AFailedStepEndsTheRequestOnce) {
  Start();
  runner_->on_step = [](absl::Span<const runtime::StepRow> rows) {
    return rows.size() == 3 ? absl::InternalError("broken") : absl::OkStatus();
  };
  const auto call = Send(engine_.get(), Ask(3));
  EXPECT_EQ(call->Wait().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(telemetry_.count("finished INTERNAL "), 1);
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
  EXPECT_TRUE(Send(engine_.get(), Ask(2))->Wait().ok());
  EXPECT_FALSE(call->called_after_done());
}

}  // namespace
}  // namespace precis::testing
