// How requests end early: deadlines, cancellation, draining, destruction; all while a step is held in its middle.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace precis::testing {
namespace {

using runtime::Engine;
using runtime::Request;

class EngineEndTest : public EngineFixture {
 protected:
  void SetUp() override {
    runtime::EngineOptions options;
    options.max_batch_rows = 1;
    StartEngine(Letters(-1), options, {"flash"});
    GateSteps();
  }
  void TearDown() override { gate_.Open(); }
  std::shared_ptr<Call> Ask(int max_new_tokens, absl::Duration deadline = absl::InfiniteDuration()) {
    Request request;
    request.document = "document";
    request.options.max_new_tokens = max_new_tokens;
    request.deadline = absl::Now() + deadline;
    return Send(engine_.get(), request);
  }
};

TEST_F(EngineEndTest, QueuedDeadlinePassesWhileAStepRuns) {
  const auto running = Ask(4);
  gate_.AwaitWaiting();
  const auto late = Ask(4, absl::Seconds(3600));
  const auto queued = Ask(4, absl::Milliseconds(30));
  EXPECT_EQ(queued->Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(running->done());
  EXPECT_FALSE(late->done());
  EXPECT_EQ(telemetry_.count("rejected deadline"), 1);
  EXPECT_EQ(telemetry_.count("cancelled queued"), 1);
  gate_.Open();
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_TRUE(late->Wait().ok());
}

TEST_F(EngineEndTest, QueuedCancellationIsAnsweredWhileAStepRuns) {
  const auto running = Ask(4);
  gate_.AwaitWaiting();
  const auto queued = Ask(4);
  engine_->Cancel(queued->id);
  EXPECT_EQ(queued->Wait().status().code(), absl::StatusCode::kCancelled);
  engine_->Cancel(queued->id);  // again: ignored
  engine_->Cancel(123456);
  EXPECT_FALSE(running->done());
  EXPECT_EQ(telemetry_.count("cancelled queued"), 1);
}

TEST_F(EngineEndTest, RunningCancellationEndsWithinOneStep) {
  const auto running = Ask(100);
  gate_.AwaitWaiting();
  engine_->Cancel(running->id);
  const int steps = runner_->steps;
  gate_.Open();
  EXPECT_EQ(running->Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(runner_->steps, steps);
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
  EXPECT_EQ(engine_->load().running, 0);
  EXPECT_EQ(telemetry_.count("cancelled prefill") + telemetry_.count("cancelled decode"), 1);
  EXPECT_EQ(telemetry_.count("negative latency"), 0);
  EXPECT_FALSE(running->called_after_done());
}

TEST_F(EngineEndTest, RunningDeadlineEndsWithinOneStep) {
  const auto running = Ask(100, absl::Milliseconds(50));
  gate_.AwaitWaiting();
  absl::SleepFor(absl::Milliseconds(60));
  const int steps = runner_->steps;
  gate_.Open();
  EXPECT_EQ(running->Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(runner_->steps, steps);
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
}

TEST_F(EngineEndTest, DrainFinishesWhatWasAcceptedAndRefusesMore) {
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 5; ++i) calls.push_back(Ask(5));
  gate_.AwaitWaiting();
  std::thread drain([this] { engine_->Drain(absl::Seconds(60)); });
  absl::Status refused;
  while (refused.ok()) {
    const auto call = Ask(1);
    if (call->done()) refused = call->Wait().status();
    engine_->Cancel(call->id);
  }
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(telemetry_.count("rejected draining"), 1);
  gate_.Open();
  drain.join();
  for (const auto& call : calls) {
    EXPECT_TRUE(call->done());
    EXPECT_TRUE(call->Wait().ok()) << call->Wait().status();
  }
}

TEST_F(EngineEndTest, DrainEndsTheRestWhenTheBoundIsReached) {
  const auto running = Ask(1000);
  const auto waiting = Ask(1000);
  gate_.AwaitWaiting();
  std::thread drain([this] { engine_->Drain(absl::Milliseconds(20)); });
  EXPECT_EQ(waiting->Wait().status().code(), absl::StatusCode::kUnavailable);
  gate_.Open();
  drain.join();
  EXPECT_TRUE(running->done());
  EXPECT_EQ(running->Wait().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineEndTest, DestructionCancelsTheRest) {
  const auto running = Ask(1000);
  const auto waiting = Ask(1000);
  gate_.AwaitWaiting();
  gate_.Open();
  engine_.reset();
  EXPECT_TRUE(running->done() && waiting->done());
  EXPECT_EQ(waiting->Wait().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(EngineEndTest, ASlowCallbackDelaysNoStep) {
  Gate callback;
  Request request;
  request.document = "document";
  request.options.max_new_tokens = 20;
  std::atomic<bool> done = false;
  gate_.Open();
  ASSERT_TRUE(engine_->Submit(request, {[&](const std::string&) { callback.Pass(); },
                                        [&](auto) { done = true; }}).ok());
  callback.AwaitWaiting();
  while (runner_->steps < 20) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(done);
  callback.Open();
  engine_->Drain(absl::Seconds(10));
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace precis::testing
