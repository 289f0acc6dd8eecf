// Status codes, retries, deadlines and cancellation, load reports.
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/load_report.h"
#include "server/status_mapping.h"
#include "tests/server/service_fixture.h"
#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using precis::v1::SummarizeResponse;

TEST_F(ServiceTest, FullQueuesCarryRetryInfo) {
  Start();
  engine_->RefuseWith(absl::ResourceExhaustedError("the queue holds 8 requests, which is the limit"));
  const Outcome outcome = Call(Request());
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Trailer(*outcome.context, "grpc-retry-pushback-ms"), "1500");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(outcome.status.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
  absl::Status never = absl::ResourceExhaustedError("the request can never fit");
  never.SetPayload(kNoRetryPayload, absl::Cord());
  engine_->RefuseWith(never);
  EXPECT_EQ(Trailer(*Call(Request()).context, "grpc-retry-pushback-ms"), "-1");
}

TEST_F(ServiceTest, BugsAreInternalWithAnIdThatIsInTheLog) {
  Start();
  for (const absl::Status& bug : {absl::InternalError("secret cause"), absl::UnknownError("secret cause"),
                                  absl::DataLossError("secret cause"), absl::AbortedError("secret cause")}) {
    engine_->FailWith(bug);
    const Outcome outcome = Call(Request());
    ASSERT_EQ(outcome.status.error_code(), grpc::StatusCode::INTERNAL);
    const std::string message = outcome.status.error_message();
    EXPECT_THAT(message, ::testing::Not(HasSubstr("secret")));
    const std::string id = message.substr(std::string("internal error ").size(), 16);
    EXPECT_THAT(LogText(), HasSubstr("\"error_id\":\"" + id + "\""));
  }
  EXPECT_THAT(LogText(), HasSubstr("secret cause"));
  EXPECT_EQ(metrics_.Count("rpc news flash none/none INTERNAL"), 4) << metrics_.All();
}

TEST_F(ServiceTest, StatusesOfTheApiPassUnchanged) {
  Start();
  using Code = grpc::StatusCode;
  const std::vector<std::pair<absl::Status, Code>> cases = {
      {absl::InvalidArgumentError("m"), Code::INVALID_ARGUMENT},
      {absl::NotFoundError("m"), Code::NOT_FOUND},
      {absl::DeadlineExceededError("m"), Code::DEADLINE_EXCEEDED},
      {absl::UnavailableError("m"), Code::UNAVAILABLE},
      {absl::FailedPreconditionError("m"), Code::FAILED_PRECONDITION},
      {absl::PermissionDeniedError("m"), Code::PERMISSION_DENIED},
      {absl::CancelledError("m"), Code::CANCELLED}};
  for (const auto& [status, code] : cases) {
    engine_->FailWith(status);
    const Outcome outcome = Call(Request());
    EXPECT_EQ(outcome.status.error_code(), code);
    EXPECT_EQ(outcome.status.error_message(), "m");
  }
}

TEST_F(ServiceTest, DeadlinesAndCancellationReachTheEngine) {
  Start();
  engine_->Hold(true);
  EXPECT_EQ(Call(Request(), absl::Milliseconds(100)).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0; }));
  EXPECT_TRUE(Eventually([&] { return metrics_.Count("rpc news flash none/none DEADLINE_EXCEEDED") == 1; })) << metrics_.All();
  grpc::ClientContext context;
  std::thread canceller([&] {
    EXPECT_TRUE(Eventually([&] { return engine_->live() == 1; }));
    context.TryCancel();
  });
  SummarizeResponse response;
  EXPECT_EQ(stub_->Summarize(&context, Request(), &response).error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0 && engine_->cancelled() == 1; }));
}

// The client's clock runs out a little before the server's; what it then resets is no cancellation.
TEST_F(ServiceTest, AnExpiredCallIsNeverCountedAsCancelled) {
  Start();
  engine_->Hold(true);
  constexpr int kCalls = 60;
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_EQ(Call(Request(), absl::Milliseconds(5 + i % 7)).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_TRUE(Eventually([&] { return engine_->live() == 0; }));
  EXPECT_EQ(metrics_.Count("rpc news flash none/none CANCELLED"), 0) << metrics_.All();
  EXPECT_EQ(engine_->cancelled(), 0);
}

// That the trailer is sent is shown with a Go client (tests/integration): C-core keeps it from its applications.
TEST_F(ServiceTest, LoadReportsDescribeTheEngine) {
  FakeEngine engine;
  LoadReporter reporter;
  xds::data::orca::v3::OrcaLoadReport report;
  ASSERT_TRUE(report.ParseFromString(reporter.Report(&engine)));
  EXPECT_EQ(report.mem_utilization(), 0.25);
  EXPECT_EQ(report.named_metrics().at("kv_cache_utilization"), 0.25);
  EXPECT_EQ(report.named_metrics().count("queue_depth"), 1u);
  EXPECT_EQ(report.named_metrics().count("queue_seconds"), 1u);
  EXPECT_GE(report.application_utilization(), 0.25);
}

}  // namespace
}  // namespace precis::server
