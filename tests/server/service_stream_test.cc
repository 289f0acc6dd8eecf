// StreamSummarize and SummarizeMany.
#include <map>
#include <thread>
#include <vector>

#include "tests/server/service_fixture.h"

namespace precis::server {
namespace {

using precis::v1::SummarizeRequest;

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
