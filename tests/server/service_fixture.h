#ifndef PRECIS_TESTS_SERVER_SERVICE_FIXTURE_H_
#define PRECIS_TESTS_SERVER_SERVICE_FIXTURE_H_

#include <memory>
#include <string>

#include "tests/server/server_fixture.h"

namespace precis::server {

// Unary calls and what comes back.
class ServiceTest : public ServerFixture {
 protected:
  struct Outcome {
    grpc::Status status;
    precis::v1::SummarizeResponse response;
    std::unique_ptr<grpc::ClientContext> context = std::make_unique<grpc::ClientContext>();
  };

  Outcome Call(const precis::v1::SummarizeRequest& request, absl::Duration timeout = absl::InfiniteDuration()) {
    Outcome outcome;
    if (timeout != absl::InfiniteDuration()) {
      outcome.context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    }
    outcome.status = stub_->Summarize(outcome.context.get(), request, &outcome.response);
    return outcome;
  }

  void ExpectInvalid(const precis::v1::SummarizeRequest& request, const std::string& message) {
    const Outcome outcome = Call(request);
    EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << outcome.status.error_message();
    EXPECT_THAT(outcome.status.error_message(), ::testing::HasSubstr(message));
  }
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_SERVICE_FIXTURE_H_
