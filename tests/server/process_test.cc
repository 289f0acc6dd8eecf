// Loading, health and draining, over real sockets.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/server/process_fixture.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

TEST_F(ProcessTest, UnavailableWhileLoading) {
  Start(/*load=*/false);
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(Call().error_message(), HasSubstr("loading"));
  grpc::ClientContext list, many;
  precis::v1::ListModelsResponse models;
  EXPECT_EQ(stub_->ListModels(&list, {}, &models).error_code(), grpc::StatusCode::UNAVAILABLE);
  auto stream = stub_->SummarizeMany(&many);
  precis::v1::SummarizeManyResponse answer;
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Health(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(server_->ready());
  Load();
  EXPECT_TRUE(server_->ready());
  EXPECT_EQ(Health("precis.v1.Summarizer"), HealthCheckResponse::SERVING);
  EXPECT_TRUE(Call().ok());
}

TEST_F(ProcessTest, AFailedWarmUpIsAFailedLoad) {
  Start(/*load=*/false);
  auto engine = std::make_unique<FakeEngine>();
  engine->FailWith(absl::InternalError("broken kernel"));
  const absl::Status status = server_->Load([&] { return std::move(engine); });
  EXPECT_THAT(std::string(status.message()), HasSubstr("warm-up of model 'news' with backend 'standard' failed: broken kernel"));
  EXPECT_FALSE(server_->ready());
}

TEST_F(ProcessTest, APortInUseIsAnError) {
  Start();
  Configuration second = configuration_;
  second.options.listen = server_->address();
  const auto server = Server::Start(second, &metrics_, log_.get());
  EXPECT_TRUE(absl::IsUnavailable(server.status())) << server.status();
  EXPECT_THAT(std::string(server.status().message()), HasSubstr(server_->address()));
}

TEST_F(ProcessTest, ListensOnUnixSockets) {
  configuration_.options.listen = "unix:" + directory_ + "/socket";
  Start();
  EXPECT_TRUE(Call().ok());
}

TEST_F(ProcessTest, HealthOfUnknownServices) {
  Start();
  const auto stub = grpc::health::v1::Health::NewStub(MakeChannel());
  HealthCheckRequest request;
  request.set_service("nope");
  HealthCheckResponse response;
  grpc::ClientContext check, watch;
  EXPECT_EQ(stub->Check(&check, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  auto reader = stub->Watch(&watch, request);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  watch.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ProcessTest, WatchStreamsEveryChangeAndEndsWithTheServer) {
  Start(/*load=*/false);
  const auto stub = grpc::health::v1::Health::NewStub(MakeChannel());
  grpc::ClientContext context;
  auto reader = stub->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  Load();
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  std::thread drain([&] { server_->Drain(); });
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

class DrainTest : public ProcessTest {};

TEST_F(DrainTest, AcceptedRequestsAreAnsweredAndNewOnesRefused) {
  configuration_.options.drain_delay = absl::Milliseconds(300);
  Start();
  engine_->Hold(true);
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back([&] {
      if (Call().ok()) ++answered;
    });
  }
  ASSERT_TRUE(Eventually([&] { return engine_->live() == 20; }));
  grpc::ClientContext many_context, idle_context;
  auto many = stub_->SummarizeMany(&many_context), idle = stub_->SummarizeMany(&idle_context);
  many->Write(Request());
  ASSERT_TRUE(Eventually([&] { return engine_->live() == 21; }));

  std::thread drain([&] { server_->Drain(); });
  ASSERT_TRUE(Eventually([&] { return !server_->ready(); }));
  clients.emplace_back([&] {  // within the delay calls are still taken
    if (Call().ok()) ++answered;
  });
  ASSERT_TRUE(Eventually([&] { return engine_->live() == 22; }));
  ASSERT_TRUE(Eventually([&] {  // a call that doesn't wait for the engine
    grpc::ClientContext context;
    precis::v1::ListModelsResponse models;
    return stub_->ListModels(&context, {}, &models).error_code() == grpc::StatusCode::UNAVAILABLE;
  }));
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(Call().error_message(), HasSubstr("draining"));
  engine_->Hold(false);
  precis::v1::SummarizeManyResponse answer;
  EXPECT_TRUE(many->Read(&answer));
  EXPECT_TRUE(answer.has_result());
  EXPECT_FALSE(many->Read(&answer));
  EXPECT_EQ(many->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(idle->Read(&answer));
  EXPECT_EQ(idle->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  for (std::thread& client : clients) client.join();
  drain.join();
  EXPECT_EQ(answered, 21);
  EXPECT_GE(metrics_.Count("rejected draining"), 2) << metrics_.All();
  EXPECT_EQ(metrics_.Count("draining on"), 1);
}

TEST_F(DrainTest, TheBoundHolds) {
  configuration_.options.drain_timeout = absl::Milliseconds(200);
  Start();
  engine_->Hold(true);
  grpc::Status status;
  std::thread client([&] { status = Call(); });
  ASSERT_TRUE(Eventually([&] { return engine_->live() == 1; }));
  const absl::Time start = absl::Now();
  server_->Drain();
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  client.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

}  // namespace
}  // namespace precis::server
