// A second copy of a call whose server takes long, and metadata of the caller's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "client/summarizer_client.h"
#include "tests/support/fake_summarizer.h"

namespace precis::client {
namespace {

using ::precis::testing::FakeSummarizer;
using ::testing::HasSubstr;

constexpr auto kUnavailable = grpc::StatusCode::UNAVAILABLE;
constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
constexpr absl::Duration kForEver = absl::Seconds(60);

// Two servers, of which one may be slow.
class HedgingTest : public ::testing::Test {
 protected:
  std::unique_ptr<SummarizerClient> Connect(HedgeOptions hedge, int attempts = 4) {
    ConnectionOptions options;
    options.address = absl::StrCat("ipv4:", slow_.address(), ",", quick_.address());
    options.hedge = hedge;
    options.retry.max_attempts = attempts;
    options.retry.initial_backoff = absl::Milliseconds(5);
    auto client = *SummarizerClient::Create(options);
    // Both are connected before anything counts.
    const int slow = slow_.calls(), quick = quick_.calls();
    for (int i = 0; i < 400 && (slow_.calls() == slow || quick_.calls() == quick); ++i) EXPECT_TRUE(Ask(client.get()).ok());
    EXPECT_TRUE(slow_.calls() > slow && quick_.calls() > quick);
    before_ = calls();
    return client;
  }
  static absl::StatusOr<v1::SummarizeResponse> Ask(SummarizerClient* client, absl::Duration timeout = kForEver, Cancellation* cancellation = nullptr) {
    v1::SummarizeRequest request;
    request.set_document("one two");
    return client->Summarize(request, {timeout, cancellation});
  }
  int calls() const { return slow_.calls() + quick_.calls(); }
  int new_calls() const { return calls() - before_; }

  FakeSummarizer slow_, quick_;
  int before_ = 0;
};

TEST_F(HedgingTest, ASlowServerIsOvertakenAndItsCopyCancelled) {
  const auto client = Connect({.delay = absl::Milliseconds(30), .budget = 1});
  slow_.SetWordDelay(kForEver);
  const absl::Time began = absl::Now();
  for (int i = 0; i < 6; ++i) {
    const auto answer = Ask(client.get());
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->summary(), "one two");
  }
  EXPECT_LT(absl::Now() - began, kForEver / 2);
  EXPECT_GT(new_calls(), 6);
  for (int i = 0; i < 1000 && slow_.cancelled() == 0; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_GT(slow_.cancelled(), 0);
}

TEST_F(HedgingTest, AQuickAnswerNeedsNoCopy) {
  const auto client = Connect({.delay = absl::Seconds(30), .budget = 1});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Ask(client.get()).ok());
  EXPECT_EQ(new_calls(), 10);
}

TEST_F(HedgingTest, TheBudgetBoundsTheCopiesOfAllCalls) {
  const auto client = Connect({.delay = absl::Milliseconds(5), .budget = 0.25, .burst = 1});
  slow_.SetWordDelay(absl::Milliseconds(60));
  quick_.SetWordDelay(absl::Milliseconds(60));
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(Ask(client.get()).ok());
  EXPECT_GE(new_calls(), 8 + 2);
  EXPECT_LE(new_calls(), 8 + 3);
}

TEST_F(HedgingTest, ACopyThatFailsLeavesTheOther) {
  const auto client = Connect({.delay = absl::Milliseconds(30), .budget = 1}, /*attempts=*/1);
  slow_.SetWordDelay(absl::Milliseconds(300));
  quick_.FailNext({{kUnavailable, "gone", ""}});
  // Whichever server is asked first: the failing one is not the end, since the first to fail alone ends the call only without a copy.
  int good = 0;
  for (int i = 0; i < 2; ++i) good += Ask(client.get()).ok();
  EXPECT_GE(good, 1);
}

TEST_F(HedgingTest, BothFailingIsAFailureThatIsRetried) {
  const auto client = Connect({.delay = absl::Milliseconds(1), .budget = 1});
  slow_.FailNext({{kUnavailable, "gone", ""}});
  quick_.FailNext({{kUnavailable, "gone", ""}});
  const auto answer = Ask(client.get());
  EXPECT_TRUE(answer.ok()) << answer.status();
}

TEST_F(HedgingTest, AWrongRequestIsAnsweredAtOnce) {
  const auto client = Connect({.delay = absl::Milliseconds(20), .budget = 1});
  slow_.SetWordDelay(kForEver);
  quick_.FailNext({{kInvalid, "bad", ""}});
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(client.get()).status()));
}

TEST_F(HedgingTest, DeadlineAndCancellationHoldForBoth) {
  const auto client = Connect({.delay = absl::Milliseconds(10), .budget = 1});
  slow_.SetWordDelay(kForEver);
  quick_.SetWordDelay(kForEver);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Ask(client.get(), absl::Milliseconds(200)).status()));
  Cancellation cancellation;
  std::thread canceller([&] {
    absl::SleepFor(absl::Milliseconds(100));
    cancellation.Cancel();
  });
  EXPECT_TRUE(absl::IsCancelled(Ask(client.get(), kForEver, &cancellation).status()));
  canceller.join();
}

TEST_F(HedgingTest, ACallThatMeetsAClosingServerIsRetried) {
  for (const absl::Duration delay : {absl::InfiniteDuration(), absl::Duration(absl::Seconds(30))}) {
    const auto client = Connect({.delay = delay});
    slow_.FailNext({{grpc::StatusCode::CANCELLED, "CANCELLED", ""}});
    quick_.FailNext({{grpc::StatusCode::CANCELLED, "CANCELLED", ""}});
    const auto answer = Ask(client.get());
    EXPECT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(new_calls(), 3);
  }
}

TEST_F(HedgingTest, BadOptionsAreRefused) {
  for (const HedgeOptions& hedge : {HedgeOptions{absl::ZeroDuration()}, HedgeOptions{absl::Seconds(1), 0}, HedgeOptions{absl::Seconds(1), 0.1, 0}}) {
    ConnectionOptions options;
    options.address = quick_.address();
    options.hedge = hedge;
    EXPECT_THAT(std::string(SummarizerClient::Create(options).status().message()), HasSubstr("hedging: "));
  }
}

TEST_F(HedgingTest, MetadataOfTheCallersGoesWithEveryCall) {
  ConnectionOptions options;
  options.address = quick_.address();
  int made = 0;
  options.call_metadata = [&made]() -> std::vector<std::pair<std::string, std::string>> {
    return {{"traceparent", absl::StrCat("00-", ++made)}, {"tracestate", "a=b"}};
  };
  const auto client = *SummarizerClient::Create(options);
  ASSERT_TRUE(Ask(client.get()).ok());
  EXPECT_EQ(quick_.last_metadata("traceparent"), "00-1");
  EXPECT_EQ(quick_.last_metadata("tracestate"), "a=b");
  v1::SummarizeRequest request;
  request.set_document("one two");
  ASSERT_TRUE(client->StreamSummarize(request, [](std::string_view) { return true; }).ok());
  EXPECT_EQ(quick_.last_metadata("traceparent"), "00-2");
}

}  // namespace
}  // namespace precis::client
