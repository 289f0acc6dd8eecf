// Status mapping, call metadata, load reports and the executor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/call_info.h"
#include "server/executor.h"
#include "server/load_report.h"
#include "server/status_mapping.h"
#include "server/text.h"
#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace precis::server {
namespace {

TEST(StatusMappingTest, EveryCodeBecomesACodeOfTheApi) {
  using Code = grpc::StatusCode;
  const std::vector<std::pair<absl::StatusCode, Code>> cases = {
      {absl::StatusCode::kOk, Code::OK},
      {absl::StatusCode::kCancelled, Code::CANCELLED},
      {absl::StatusCode::kUnknown, Code::INTERNAL},
      {absl::StatusCode::kInvalidArgument, Code::INVALID_ARGUMENT},
      {absl::StatusCode::kDeadlineExceeded, Code::DEADLINE_EXCEEDED},
      {absl::StatusCode::kNotFound, Code::NOT_FOUND},
      {absl::StatusCode::kAlreadyExists, Code::INTERNAL},
      {absl::StatusCode::kPermissionDenied, Code::PERMISSION_DENIED},
      {absl::StatusCode::kResourceExhausted, Code::RESOURCE_EXHAUSTED},
      {absl::StatusCode::kFailedPrecondition, Code::FAILED_PRECONDITION},
      {absl::StatusCode::kAborted, Code::INTERNAL},
      {absl::StatusCode::kOutOfRange, Code::INTERNAL},
      {absl::StatusCode::kUnimplemented, Code::INTERNAL},
      {absl::StatusCode::kInternal, Code::INTERNAL},
      {absl::StatusCode::kUnavailable, Code::UNAVAILABLE},
      {absl::StatusCode::kDataLoss, Code::INTERNAL},
      {absl::StatusCode::kUnauthenticated, Code::UNAUTHENTICATED}};
  for (const auto& [from, to] : cases) {
    const WireStatus wire = ToWireStatus(absl::Status(from, "m"), absl::Seconds(1));
    EXPECT_EQ(wire.status.error_code(), to) << GrpcCodeName(to);
    EXPECT_EQ(wire.error_id.empty(), to != Code::INTERNAL);
    EXPECT_EQ(wire.retry_after > absl::ZeroDuration(), to == Code::RESOURCE_EXHAUSTED);
  }
  EXPECT_EQ(GrpcCodeName(Code::RESOURCE_EXHAUSTED), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(GrpcCodeName(Code::UNAUTHENTICATED), "UNAUTHENTICATED");
}

TEST(StatusMappingTest, RetryDelayIsBounded) {
  const auto pushback = [](absl::Duration estimate) {
    return RetryPushback(ToWireStatus(absl::ResourceExhaustedError("full"), estimate));
  };
  EXPECT_EQ(pushback(absl::ZeroDuration()), "100");
  EXPECT_EQ(pushback(absl::Milliseconds(2345)), "2345");
  EXPECT_EQ(pushback(absl::InfiniteDuration()), "30000");
  EXPECT_EQ(RetryPushback(ToWireStatus(absl::NotFoundError("x"), absl::Seconds(1))), "");
}

TEST(CallInfoTest, Traceparent) {
  EXPECT_TRUE(IsTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  EXPECT_TRUE(IsTraceparent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later"));
  for (const char* bad :
       {"", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}) {
    EXPECT_FALSE(IsTraceparent(bad)) << bad;
  }
  EXPECT_EQ(MetadataText("a\xc3\xa9\n"), "a???");
}

TEST(LoadReportTest, CountsOverTenWholeSeconds) {
  LoadReporter reporter;
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  for (int second = 0; second < 20; ++second) {
    for (int i = 0; i < 5; ++i) reporter.OnFinished(i != 0, start + absl::Seconds(second));
  }
  const auto report = [&](absl::Time now) {
    xds::data::orca::v3::OrcaLoadReport parsed;
    EXPECT_TRUE(parsed.ParseFromString(reporter.Report(nullptr, now)));
    return parsed;
  };
  EXPECT_EQ(report(start + absl::Seconds(20)).rps_fractional(), 5);
  EXPECT_EQ(report(start + absl::Seconds(20)).eps(), 1);
  EXPECT_EQ(report(start + absl::Seconds(25)).rps_fractional(), 2.5);
  EXPECT_EQ(report(start + absl::Seconds(100)).rps_fractional(), 0);
}

TEST(LoadReportTest, CpuUtilizationIsMeasured) {
  LoadReporter reporter;
  const absl::Time end = absl::Now() + absl::Milliseconds(600);
  volatile double x = 1;
  while (absl::Now() < end) x = x * 1.0000001;
  xds::data::orca::v3::OrcaLoadReport report;
  ASSERT_TRUE(report.ParseFromString(reporter.Report(nullptr)));
  EXPECT_GT(report.cpu_utilization(), 0);
  EXPECT_LE(report.cpu_utilization(), 1.5);
}

TEST(ExecutorTest, RunsAllInOrderBeforeItEnds) {
  std::vector<int> order;
  {
    Executor executor(1);
    for (int i = 0; i < 1000; ++i) executor.Post([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace precis::server
