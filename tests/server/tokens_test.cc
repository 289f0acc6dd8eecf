// Bearer tokens and server reflection over real sockets.
#include <fstream>
#include <set>
#include <string>

#include "google/protobuf/descriptor.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "tests/server/process_fixture.h"

namespace precis::server {
namespace {

namespace v1 = grpc::reflection::v1;
using ::testing::HasSubstr;
using grpc::health::v1::HealthCheckResponse;

class TokensTest : public ProcessTest {
 protected:
  void StartWith(const std::string& tokens) {
    WriteTokens(tokens);
    configuration_.options.auth_tokens_file = directory_ + "/tokens";
    configuration_.options.auth_reload = absl::Milliseconds(1);
    Start();
  }
  void WriteTokens(const std::string& tokens) { std::ofstream(directory_ + "/tokens") << tokens; }

  grpc::Status CallModel(const std::string& token, const std::string& model, const std::string& unit = "") {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    precis::v1::SummarizeRequest request = Request();
    request.set_model(model);
    request.set_unit_id(unit);
    return stub_->Summarize(&context, request, &response_);
  }

  grpc::Status List(const std::string& token) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    precis::v1::ListModelsResponse models;
    return stub_->ListModels(&context, {}, &models);
  }

  grpc::Status Reflect(const v1::ServerReflectionRequest& request, v1::ServerReflectionResponse* response,
                       const std::string& token = "") {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    const auto stub = v1::ServerReflection::NewStub(MakeChannel());
    auto stream = stub->ServerReflectionInfo(&context);
    stream->Write(request);
    stream->WritesDone();
    stream->Read(response);
    return stream->Finish();
  }

  precis::v1::SummarizeResponse response_;
};

TEST_F(TokensTest, GuardEverythingButHealth) {
  StartWith("token-0123456789abcdef\n");
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Call("token-0123456789abcdeX").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Call("token-0123456789abcdef").ok());
  EXPECT_EQ(metrics_.Count("refused auth"), 2);
  grpc::ClientContext list, stream_context, many_context;
  precis::v1::ListModelsResponse models;
  EXPECT_EQ(stub_->ListModels(&list, {}, &models).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(stub_->StreamSummarize(&stream_context, Request())->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(stub_->SummarizeMany(&many_context)->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  v1::ServerReflectionResponse reflected;
  EXPECT_EQ(Reflect({}, &reflected).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Reflect({}, &reflected, "token-0123456789abcdef").ok());
  EXPECT_EQ(Health(""), HealthCheckResponse::SERVING);
  WriteTokens("another-0123456789abcdef\n");
  absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(Call("token-0123456789abcdef").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Call("another-0123456789abcdef").ok());
  EXPECT_EQ(LogText().find("0123456789abcdef"), std::string::npos) << "a token is in the log";
}

TEST_F(TokensTest, AllowSomeCallsOnly) {
  StartWith("worker-0123456789abcdef name=worker allow=summarize\nviewer-0123456789abcdef name=viewer allow=list,reflection\n");
  const std::string worker = "worker-0123456789abcdef", viewer = "viewer-0123456789abcdef";
  EXPECT_TRUE(Call(worker).ok());
  EXPECT_TRUE(List(viewer).ok());
  EXPECT_EQ(Call(viewer).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(Call(viewer).error_message(), HasSubstr("the token 'viewer' allows list, reflection; Summarize needs summarize"));
  EXPECT_EQ(List(worker).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(List(worker).error_message(), HasSubstr("ListModels needs list"));
  grpc::ClientContext stream_context, many_context;
  for (grpc::ClientContext* context : {&stream_context, &many_context}) context->AddMetadata("authorization", "Bearer " + viewer);
  EXPECT_EQ(stub_->StreamSummarize(&stream_context, Request())->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(stub_->SummarizeMany(&many_context)->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  v1::ServerReflectionResponse reflected;
  EXPECT_TRUE(Reflect({}, &reflected, viewer).ok());
  EXPECT_EQ(Reflect({}, &reflected, worker).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(metrics_.Count("refused auth"), 7) << metrics_.All();
  EXPECT_THAT(LogText(), HasSubstr("\"token\":\"worker\""));
  WriteTokens("viewer-0123456789abcdef name=viewer\n");
  EXPECT_TRUE(Eventually([&] { return Call(viewer).ok(); })) << "permissions are read again, too";
}

TEST_F(TokensTest, AllowSomeModelsOnly) {
  Experiment experiment;
  experiment.name = "e";
  experiment.arms = {{"a", 1, "standard", "news"}, {"b", 1, "standard", "plain"}};
  configuration_.experiments.experiments = {experiment};
  const std::string token = "plain-0123456789abcdef";
  StartWith(token + " name=plain-only models=plain\n");
  EXPECT_TRUE(CallModel(token, "plain").ok());
  EXPECT_EQ(response_.model(), "plain");
  const grpc::Status denied = CallModel(token, "news");
  EXPECT_EQ(denied.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(denied.error_message(), HasSubstr("the token 'plain-only' does not allow model 'news', only plain"));
  // Without a name the first model would serve it.
  EXPECT_EQ(CallModel(token, "").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(CallModel(token, "none-such").error_code(), grpc::StatusCode::NOT_FOUND);
  for (const auto& request : engine_->submitted()) EXPECT_EQ(request.model, "plain");
  // Within a stream each request is refused for itself.
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + token);
  auto many = stub_->SummarizeMany(&context);
  many->Write(Request());
  many->WritesDone();
  precis::v1::SummarizeManyResponse answer;
  ASSERT_TRUE(many->Read(&answer));
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(many->Finish().ok());
}

// An arm never takes a request to a model that its token doesn't allow.
TEST_F(TokensTest, ExperimentsRespectModels) {
  Experiment experiment;
  experiment.name = "e";
  experiment.arms = {{"a", 1, "standard", ""}, {"b", 1, "flash", "plain"}};
  configuration_.experiments.experiments = {experiment};
  const std::string token = "newsy-0123456789abcdef";
  StartWith(token + " models=news\n");
  std::set<int> reasons;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(CallModel(token, "", StrCat("unit-", i)).ok());
    EXPECT_EQ(response_.model(), "news");
    reasons.insert(response_.assignment().reason());
  }
  EXPECT_EQ(reasons, (std::set<int>{precis::v1::ASSIGNMENT_REASON_ASSIGNED, precis::v1::ASSIGNMENT_REASON_FALLBACK}));
}

class ReflectionTest : public TokensTest {};

TEST_F(ReflectionTest, DescribesEveryServiceItLists) {
  Start();
  v1::ServerReflectionRequest request;
  request.set_list_services("*");
  v1::ServerReflectionResponse response;
  ASSERT_TRUE(Reflect(request, &response).ok());
  std::set<std::string> services;
  for (const auto& service : response.list_services_response().service()) services.insert(service.name());
  EXPECT_EQ(services, (std::set<std::string>{"precis.v1.Summarizer", "precis.v1.Experiments", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                                             "grpc.reflection.v1alpha.ServerReflection"}));
  for (const std::string& service : services) {
    request.set_file_containing_symbol(service);
    ASSERT_TRUE(Reflect(request, &response).ok());
    google::protobuf::FileDescriptorProto file;
    ASSERT_GE(response.file_descriptor_response().file_descriptor_proto_size(), 1) << service;
    ASSERT_TRUE(file.ParseFromString(response.file_descriptor_response().file_descriptor_proto(0)));
    EXPECT_EQ(file.package() + "." + file.service(0).name(), service);
    EXPECT_EQ(response.original_request().file_containing_symbol(), service);
  }
}

TEST_F(ReflectionTest, SaysWhatItDoesNotHave) {
  Start();
  v1::ServerReflectionRequest request;
  v1::ServerReflectionResponse response;
  ASSERT_TRUE(Reflect(request, &response).ok());
  EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_file_containing_symbol("no.such.Symbol");
  ASSERT_TRUE(Reflect(request, &response).ok());
  EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(response.error_response().error_message(), HasSubstr("no.such.Symbol"));
  request.set_file_by_filename("no/such.proto");
  ASSERT_TRUE(Reflect(request, &response).ok());
  EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_all_extension_numbers_of_type("precis.v1.SummarizeRequest");
  ASSERT_TRUE(Reflect(request, &response).ok());
  EXPECT_EQ(response.all_extension_numbers_response().extension_number_size(), 0);
}

TEST_F(ReflectionTest, CanBeTurnedOff) {
  configuration_.options.reflection = false;
  Start();
  v1::ServerReflectionResponse response;
  EXPECT_EQ(Reflect({}, &response).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace precis::server
