#include "client/summarizer_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/support/fake_summarizer.h"

namespace precis::client {
namespace {

using ::precis::testing::FakeSummarizer;
using ::testing::HasSubstr;

constexpr auto kUnavailable = grpc::StatusCode::UNAVAILABLE;
constexpr auto kExhausted = grpc::StatusCode::RESOURCE_EXHAUSTED;

class SummarizerClientTest : public ::testing::Test {
 protected:
  SummarizerClientTest() { client_ = Connect(fake_.address()); }

  static std::unique_ptr<SummarizerClient> Connect(const std::string& address, RetryOptions retry = {}) {
    ConnectionOptions options;
    options.address = address;
    options.retry = retry;
    options.retry.initial_backoff = absl::Milliseconds(5);
    return *SummarizerClient::Create(options);
  }
  static v1::SummarizeRequest Request(const std::string& document) {
    v1::SummarizeRequest request;
    request.set_document(document);
    return request;
  }
  static bool WaitFor(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(5));
    return condition();
  }

  FakeSummarizer fake_;
  std::unique_ptr<SummarizerClient> client_;
};

TEST_F(SummarizerClientTest, Summarizes) {
  auto response = client_->Summarize(Request("one two three four five six"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->summary(), "one two three four five");
}

TEST_F(SummarizerClientTest, RetriesUnavailableAndHonoursPushback) {
  fake_.FailNext({{kUnavailable, "starting", ""}, {kExhausted, "queue full", "150"}});
  auto response = client_->Summarize(Request("a b"));
  ASSERT_TRUE(response.ok()) << response.status();
  const auto arrivals = fake_.arrivals();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_GE(arrivals[2] - arrivals[1], absl::Milliseconds(150));
}

TEST_F(SummarizerClientTest, DoesNotRetryWhatIsFinal) {
  for (const FakeSummarizer::Failure& failure : std::vector<FakeSummarizer::Failure>{
           {grpc::StatusCode::INVALID_ARGUMENT, "bad", ""},
           {kExhausted, "too large a message", ""},
           {kExhausted, "queue full, don't come back", "-1"},
           {kExhausted, "nonsense", "soon"}}) {
    const int before = fake_.calls();
    fake_.FailNext({failure});
    auto response = client_->Summarize(Request("a"));
    EXPECT_EQ(response.status().code(), static_cast<absl::StatusCode>(failure.code));
    EXPECT_THAT(response.status().message(), HasSubstr(failure.message));
    EXPECT_EQ(fake_.calls(), before + 1) << failure.message;
  }
}

TEST_F(SummarizerClientTest, BudgetEndsRetriesOfAllCalls) {
  auto client = Connect(fake_.address(), {.max_attempts = 10, .budget_tokens = 8});
  fake_.FailNext(std::vector<FakeSummarizer::Failure>(100, {kUnavailable, "down", ""}));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(client->Summarize(Request("a")).ok());
  // 3 retries are affordable in all: 10 first attempts and these.
  EXPECT_EQ(fake_.calls(), 13);
}

TEST_F(SummarizerClientTest, DeadlineHolds) {
  fake_.SetWordDelay(absl::Seconds(5));
  const absl::Time start = absl::Now();
  auto response = client_->Summarize(Request("a b c"), {.timeout = absl::Milliseconds(100)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(response.status())) << response.status();
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
}

TEST_F(SummarizerClientTest, CancellationEndsCallsOfOtherThreads) {
  fake_.SetWordDelay(absl::Seconds(20));
  Cancellation cancellation;
  std::vector<std::thread> threads;
  std::atomic<int> cancelled = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      auto response = client_->Summarize(Request("a b"), {.cancellation = &cancellation});
      if (absl::IsCancelled(response.status())) ++cancelled;
    });
  }
  EXPECT_TRUE(WaitFor([&] { return fake_.calls() == 4; }));
  cancellation.Cancel();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(cancelled, 4);
  EXPECT_TRUE(absl::IsCancelled(client_->Summarize(Request("a"), {.cancellation = &cancellation}).status()));
}

TEST_F(SummarizerClientTest, StreamsDeltas) {
  std::string joined;
  auto response = client_->StreamSummarize(Request("a b c"), [&](std::string_view delta) {
    joined += delta;
    return true;
  });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(joined, "a b c");
  EXPECT_EQ(joined, response->summary());
}

TEST_F(SummarizerClientTest, StreamIsRetriedBeforeButNotAfterTheFirstDelta) {
  fake_.FailNext({{kUnavailable, "starting", ""}});
  int deltas = 0;
  const auto count = [&](std::string_view) { return ++deltas > 0; };
  EXPECT_TRUE(client_->StreamSummarize(Request("a b"), count).ok());
  EXPECT_EQ(fake_.calls(), 2);
  auto broken = client_->StreamSummarize(Request("a BREAK c"), count);
  EXPECT_TRUE(absl::IsUnavailable(broken.status())) << broken.status();
  EXPECT_EQ(fake_.calls(), 3);
  EXPECT_EQ(deltas, 4);
}

TEST_F(SummarizerClientTest, StoppingAStreamCancelsTheServersWork) {
  fake_.SetWordDelay(absl::Milliseconds(20));
  auto response = client_->StreamSummarize(Request("a b c d e"), [](std::string_view) { return false; });
  EXPECT_TRUE(absl::IsCancelled(response.status())) << response.status();
  EXPECT_TRUE(WaitFor([&] { return fake_.cancelled() == 1; }));
}

// The last channel of a process must end on the caller's thread: gRPC's own thread would wait for itself.
TEST_F(SummarizerClientTest, TheClientMayGoAsSoonAsItsLastStreamIsDone) {
  client_ = nullptr;
  for (int i = 0; i < 300; ++i) {
    auto client = Connect(fake_.address());
    absl::Notification done;
    client->StartStream(Request("a"), {.on_done = [&](const auto& response) {
                                         EXPECT_TRUE(response.ok()) << response.status();
                                         done.Notify();
                                       }});
    done.WaitForNotification();
  }
}

TEST_F(SummarizerClientTest, StartStreamRunsManyAtATime) {
  std::atomic<int> done = 0, deltas = 0;
  for (int i = 0; i < 200; ++i) {
    client_->StartStream(Request("a b c"), {.on_delta = [&](std::string_view) { ++deltas; },
                                            .on_done = [&](auto response) { done += response.ok(); }});
  }
  EXPECT_TRUE(WaitFor([&] { return done == 200; }));
  EXPECT_EQ(deltas, 600);
}

TEST_F(SummarizerClientTest, StartStreamIsRetriedBeforeButNotAfterTheFirstDelta) {
  const auto run = [this](const CallOptions& options = {}, const std::string& document = "a b c") {
    std::pair<std::string, absl::StatusOr<v1::SummarizeResponse>> out;
    absl::Notification done;
    client_->StartStream(Request(document),
                         {.on_delta = [&](std::string_view delta) { out.first += delta; },
                          .on_done =
                              [&](auto response) {
                                out.second = std::move(response);
                                done.Notify();
                              }},
                         options);
    done.WaitForNotification();
    return out;
  };
  fake_.FailNext({{kUnavailable, "starting", ""}, {kExhausted, "queue full", "150"}});
  auto [text, response] = run();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(text, "a b c");
  const auto arrivals = fake_.arrivals();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_GE(arrivals[2] - arrivals[1], absl::Milliseconds(150));

  fake_.FailNext(std::vector<FakeSummarizer::Failure>(4, {kUnavailable, "down", ""}));
  EXPECT_TRUE(absl::IsUnavailable(run().second.status()));
  EXPECT_EQ(fake_.calls(), 3 + 4);
  fake_.FailNext({{kUnavailable, "down", ""}});
  EXPECT_TRUE(absl::IsUnavailable(run({.retry = false}).second.status()));
  fake_.FailNext({{kExhausted, "queue full", "60000"}});
  EXPECT_EQ(run({.timeout = absl::Seconds(5)}).second.status().message(), "queue full") << "no wait past the deadline is begun";
  EXPECT_EQ(fake_.calls(), 3 + 4 + 2);

  fake_.FailNext({});
  const auto broken = run({}, "a BREAK c");
  EXPECT_TRUE(absl::IsUnavailable(broken.second.status())) << broken.second.status();
  EXPECT_FALSE(broken.first.empty());
  EXPECT_EQ(fake_.calls(), 3 + 4 + 2 + 1);
}

// The alarm that a wait is for, its cancellation and the next attempt, at the same moment over and over.
TEST_F(SummarizerClientTest, WaitsOfStartedStreamsEndByCancellation) {
  client_ = Connect(fake_.address(), {.budget_tokens = 10'000});
  for (int i = 0; i < 100; ++i) {
    const bool long_wait = i % 2 == 0;
    fake_.FailNext({{kExhausted, "queue full", long_wait ? "60000" : "1"}});
    const int before = fake_.calls();
    Cancellation cancellation;
    absl::Notification done;
    absl::Status status;
    client_->StartStream(Request("a"),
                         {.on_done =
                              [&](const auto& response) {
                                status = response.status();
                                done.Notify();
                              }},
                         {.timeout = absl::Minutes(5), .cancellation = &cancellation});
    ASSERT_TRUE(WaitFor([&] { return fake_.calls() > before; }));
    if (i % 4 < 2) absl::SleepFor(absl::Milliseconds(1));
    cancellation.Cancel();
    ASSERT_TRUE(done.WaitForNotificationWithTimeout(absl::Seconds(30)));
    EXPECT_TRUE(absl::IsCancelled(status) || (!long_wait && status.ok())) << status;
  }
}

TEST_F(SummarizerClientTest, DestructorEndsWaitsOfStartedStreams) {
  fake_.FailNext({{kExhausted, "queue full", "60000"}});
  absl::Status status;
  client_->StartStream(Request("a"), {.on_done = [&](auto response) { status = response.status(); }}, {.timeout = absl::Minutes(5)});
  ASSERT_TRUE(WaitFor([&] { return fake_.calls() == 1; }));
  const absl::Time began = absl::Now();
  client_.reset();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_LT(absl::Now() - began, absl::Seconds(30));
}

TEST_F(SummarizerClientTest, DestructorEndsStartedStreams) {
  fake_.SetWordDelay(absl::Seconds(20));
  absl::Status status;
  client_->StartStream(Request("a b c"), {.on_done = [&](auto response) { status = response.status(); }});
  client_.reset();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

// Sends `count` documents; the answers by their ids.
std::map<std::string, v1::SummarizeManyResponse> RunMany(SummarizerClient* client, int count,
                                                         absl::Status* status) {
  int sent = 0;
  std::map<std::string, v1::SummarizeManyResponse> answers;
  *status = client->SummarizeMany(
      [&](v1::SummarizeRequest* request) {
        if (sent == count) return false;
        request->set_document(absl::StrCat("document ", sent));
        request->set_client_request_id(absl::StrCat(sent++));
        return true;
      },
      [&](const v1::SummarizeManyResponse& answer) {
        EXPECT_TRUE(answers.emplace(answer.client_request_id(), answer).second) << "answered twice";
      },
      {.max_in_flight = 16});
  return answers;
}

TEST_F(SummarizerClientTest, ManyAnswersEachOnce) {
  absl::Status status;
  const auto answers = RunMany(client_.get(), 300, &status);
  EXPECT_TRUE(status.ok()) << status;
  ASSERT_EQ(answers.size(), 300u);
  for (const auto& [id, answer] : answers) EXPECT_EQ(answer.result().summary(), "document " + id);
}

TEST_F(SummarizerClientTest, ManyRetriesItemsAndSurvivesABrokenStream) {
  fake_.FailNext({{kExhausted, "queue full", "30"},
                  {grpc::StatusCode::INVALID_ARGUMENT, "bad", ""},
                  {kUnavailable, "final by the proto: no retry_after", ""}});
  fake_.BreakManyStreamAfter(20);
  absl::Status status;
  const auto answers = RunMany(client_.get(), 50, &status);
  EXPECT_TRUE(status.ok()) << status;
  ASSERT_EQ(answers.size(), 50u);
  int failed = 0;
  for (const auto& [id, answer] : answers) failed += answer.has_error();
  EXPECT_EQ(failed, 2);
}

TEST_F(SummarizerClientTest, ManyAnswersWithErrorsWhenTheServerIsGone) {
  fake_.Stop();
  absl::Status status;
  const auto answers = RunMany(client_.get(), 5, &status);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  for (const auto& [id, answer] : answers) {
    EXPECT_EQ(answer.error().code(), static_cast<int>(absl::StatusCode::kUnavailable));
  }
}

TEST_F(SummarizerClientTest, ManyRefusesAnIdInUse) {
  fake_.SetWordDelay(absl::Milliseconds(200));
  int sent = 0, errors = 0, results = 0;
  const absl::Status status = client_->SummarizeMany(
      [&](v1::SummarizeRequest* request) {
        request->set_document("a");
        request->set_client_request_id("same");
        return sent++ < 2;
      },
      [&](const v1::SummarizeManyResponse& answer) { ++(answer.has_error() ? errors : results); }, {});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(results, 1);
  EXPECT_EQ(errors, 1);
}

TEST_F(SummarizerClientTest, ListsAndHealth) {
  EXPECT_EQ(client_->ListModels()->models(0).name(), "fake");
  EXPECT_EQ(client_->ListBackends()->device(), "cpu");
  EXPECT_EQ(*client_->CheckHealth(), Health::kServing);
  EXPECT_TRUE(absl::IsNotFound(client_->CheckHealth("no.such.Service").status()));
  std::vector<Health> seen;
  const absl::Status status = client_->WatchHealth("", [&](Health health) {
    seen.push_back(health);
    fake_.SetServing(false);
    return seen.size() < 2;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ::testing::ElementsAre(Health::kServing, Health::kNotServing));
}

TEST_F(SummarizerClientTest, ReconnectsToARestartedServer) {
  ASSERT_TRUE(client_->Summarize(Request("a")).ok());
  const int port = fake_.port();
  fake_.Stop();
  EXPECT_TRUE(absl::IsUnavailable(client_->Summarize(Request("a")).status()));
  FakeSummarizer again(nullptr, port);
  EXPECT_TRUE(WaitFor([&] { return client_->Summarize(Request("a")).ok(); }));
}

TEST(SummarizerClientErrorsTest, ConnectionRefusedSaysSo) {
  ConnectionOptions options;
  options.address = "127.0.0.1:1";
  options.retry.max_attempts = 1;
  auto status = (*SummarizerClient::Create(options))->ListModels().status();
  EXPECT_EQ(status.message(), "server 127.0.0.1:1: connection refused: is precis-server running?");
}

TEST(SummarizerClientErrorsTest, TokenIsSentButNotInPlainTextToOthers) {
  FakeSummarizer fake;
  ConnectionOptions options;
  options.address = fake.address();
  options.bearer_token = "secret";
  ASSERT_TRUE((*SummarizerClient::Create(options))->ListModels().ok());
  EXPECT_EQ(fake.last_authorization(), "Bearer secret");
  options.address = "summaries.example.org:443";
  const absl::Status status = SummarizerClient::Create(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("plain text"));
  options.allow_plaintext_token = true;
  EXPECT_TRUE(SummarizerClient::Create(options).ok());
}

TEST(SummarizerClientErrorsTest, BadOptionsAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(SummarizerClient::Create({}).status()));
  ConnectionOptions options;
  options.address = "localhost:1";
  options.tls = {.enabled = true, .ca_file = "/no/such/ca.pem"};
  EXPECT_THAT(SummarizerClient::Create(options).status().message(), HasSubstr("/no/such/ca.pem"));
  options.tls = {.enabled = true, .certificate_file = "cert.pem"};
  EXPECT_THAT(SummarizerClient::Create(options).status().message(), HasSubstr("both"));
}

}  // namespace
}  // namespace precis::client
