#ifndef PRECIS_TESTS_SERVER_PROCESS_FIXTURE_H_
#define PRECIS_TESTS_SERVER_PROCESS_FIXTURE_H_

#include <string>

#include "tests/server/server_fixture.h"

namespace precis::server {

// A call with or without a token, and the health service.
class ProcessTest : public ServerFixture {
 protected:
  grpc::Status Call(const std::string& token = "") {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    precis::v1::SummarizeResponse response;
    return stub_->Summarize(&context, Request(), &response);
  }

  grpc::health::v1::HealthCheckResponse::ServingStatus Health(const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const auto stub = grpc::health::v1::Health::NewStub(MakeChannel());
    EXPECT_TRUE(stub->Check(&context, request, &response).ok());
    return response.status();
  }
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_PROCESS_FIXTURE_H_
