#include "client/internal/retry.h"

#include <gtest/gtest.h>

#include "client/internal/status.h"

namespace precis::client {
namespace {

absl::Status Overloaded(absl::Duration wait) {
  absl::Status status = absl::ResourceExhaustedError("the queue is full");
  SetRetryAfter(wait, &status);
  return status;
}

RetryOptions Options(int attempts) {
  RetryOptions options;
  options.max_attempts = attempts;
  options.initial_backoff = absl::Milliseconds(100);
  options.max_backoff = absl::Milliseconds(300);
  return options;
}

TEST(AttemptsTest, BacksOffExponentiallyUpToTheBound) {
  RetryOptions options = Options(10);
  for (int round = 0; round < 50; ++round) {
    RetryBudget budget(options);
    Attempts attempts(options, &budget);
    for (int bound_ms : {100, 200, 300, 300}) {
      const absl::Duration bound = absl::Milliseconds(bound_ms);
      const auto wait = attempts.After(absl::UnavailableError("down"));
      ASSERT_TRUE(wait.has_value());
      EXPECT_GE(*wait, bound / 2);
      EXPECT_LT(*wait, bound);
    }
  }
}

TEST(AttemptsTest, EndsAfterMaxAttempts) {
  RetryOptions options = Options(3);
  RetryBudget budget(options);
  Attempts attempts(options, &budget);
  EXPECT_TRUE(attempts.After(absl::UnavailableError("down")).has_value());
  EXPECT_TRUE(attempts.After(absl::UnavailableError("down")).has_value());
  EXPECT_FALSE(attempts.After(absl::UnavailableError("down")).has_value());
}

TEST(AttemptsTest, WaitsAtLeastAsLongAsTheServerAsks) {
  RetryOptions options = Options(3);
  RetryBudget budget(options);
  Attempts attempts(options, &budget);
  const auto wait = attempts.After(Overloaded(absl::Seconds(7)));
  ASSERT_TRUE(wait.has_value());
  EXPECT_GE(*wait, absl::Seconds(7));
  EXPECT_LE(*wait, absl::Seconds(7.7));
}

TEST(AttemptsTest, NegativeWishAndFinalCodesEnd) {
  RetryOptions options = Options(3);
  RetryBudget budget(options);
  for (const absl::Status& status :
       {Overloaded(-absl::Milliseconds(1)), absl::ResourceExhaustedError("message too large"),
        absl::InvalidArgumentError("x"), absl::DeadlineExceededError("x"), absl::InternalError("x"),
        absl::CancelledError("x"), absl::OkStatus()}) {
    Attempts attempts(options, &budget);
    EXPECT_FALSE(attempts.After(status).has_value()) << status;
  }
}

TEST(RetryBudgetTest, StopsWhenHalfIsGoneAndRecoversBySuccess) {
  RetryOptions options;
  options.budget_tokens = 10;
  options.budget_refill = 0.5;
  RetryBudget budget(options);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(budget.OnRetriableFailure()) << i;
  EXPECT_FALSE(budget.OnRetriableFailure());
  EXPECT_FALSE(budget.OnRetriableFailure());
  for (int i = 0; i < 5; ++i) budget.OnSuccess();
  EXPECT_TRUE(budget.OnRetriableFailure());
}

TEST(RunWithRetriesTest, DoesNotSleepPastTheDeadline) {
  RetryOptions options = Options(5);
  RetryBudget budget(options);
  Cancellation never;
  int made = 0;
  const absl::Time start = absl::Now();
  const absl::Status status =
      RunWithRetries(Attempts(options, &budget), start + absl::Seconds(1), never, [&](bool*) {
        ++made;
        return Overloaded(absl::Seconds(30));
      });
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(made, 1);
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
}

TEST(RunWithRetriesTest, CancelWakesTheWait) {
  RetryOptions options = Options(5);
  RetryBudget budget(options);
  Cancellation cancellation;
  const absl::Status status =
      RunWithRetries(Attempts(options, &budget), absl::InfiniteFuture(), cancellation, [&](bool*) {
        cancellation.Cancel();
        return Overloaded(absl::Hours(1));
      });
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

TEST(RunWithRetriesTest, CommittedIsFinal) {
  RetryOptions options = Options(5);
  RetryBudget budget(options);
  Cancellation never;
  int made = 0;
  RunWithRetries(Attempts(options, &budget), absl::InfiniteFuture(), never, [&](bool* committed) {
    ++made;
    *committed = true;
    return absl::UnavailableError("down");
  }).IgnoreError();
  EXPECT_EQ(made, 1);
}

}  // namespace
}  // namespace precis::client
