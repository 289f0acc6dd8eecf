// Loading, health, reflection, tokens, TLS and draining, over real sockets.
#include <grpcpp/security/credentials.h>
#include <sys/wait.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "google/protobuf/descriptor.pb.h"
#include "server/credentials.h"
#include "tests/server/server_fixture.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using precis::v1::SummarizeResponse;

class ProcessTest : public ServerFixture {
 protected:
  grpc::Status Call(const std::string& token = "") {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    SummarizeResponse response;
    return stub_->Summarize(&context, Request(), &response);
  }

  HealthCheckResponse::ServingStatus Health(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const auto stub = grpc::health::v1::Health::NewStub(MakeChannel());
    EXPECT_TRUE(stub->Check(&context, request, &response).ok());
    return response.status();
  }
};

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

// The descriptors that reflection serves are those of the generated pool.
TEST_F(ProcessTest, EveryServiceIsDescribed) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const char* service : {"precis.v1.Summarizer", "grpc.health.v1.Health"}) {
    EXPECT_NE(pool->FindServiceByName(service), nullptr) << service;
  }
}

TEST_F(ProcessTest, TokensGuardEverythingButHealth) {
  const std::string file = directory_ + "/tokens";
  std::ofstream(file) << "token-0123456789abcdef\n";
  configuration_.options.auth_tokens_file = file;
  configuration_.options.auth_reload = absl::Milliseconds(1);
  Start();
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Call("token-0123456789abcdeX").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Call("token-0123456789abcdef").ok());
  EXPECT_EQ(metrics_.Count("refused auth"), 2);
  grpc::ClientContext list, stream_context, many_context;
  precis::v1::ListModelsResponse models;
  EXPECT_EQ(stub_->ListModels(&list, {}, &models).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(stub_->StreamSummarize(&stream_context, Request())->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(stub_->SummarizeMany(&many_context)->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Health(""), HealthCheckResponse::SERVING);
  std::ofstream(file) << "another-0123456789abcdef\n";
  absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(Call("token-0123456789abcdef").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Call("another-0123456789abcdef").ok());
  EXPECT_EQ(LogText().find("0123456789abcdef"), std::string::npos) << "a token is in the log";
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

class TlsTest : public ProcessTest {
 protected:
  void Run(const std::string& command) {
    const int status = std::system(("cd " + directory_ + " && (" + command + ") >>openssl.log 2>&1").c_str());
    ASSERT_EQ(status, 0) << command;
  }

  // NAME.pem and NAME.key, signed by CA (made if needed).
  void MakeCertificate(const std::string& name, const std::string& ca, const std::string& serial) {
    const std::string key = "openssl ecparam -name prime256v1 -genkey -noout -out ";
    Run("test -f " + ca + ".pem || (" + key + ca + ".key && openssl req -x509 -new -key " + ca + ".key -days 2 -subj /CN=" + ca + " -out " + ca + ".pem)");
    Run(key + name + ".key && openssl req -new -key " + name + ".key -subj /CN=localhost -out " + name + ".csr && printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > ext && openssl x509 -req -in " +
        name + ".csr -CA " + ca + ".pem -CAkey " + ca + ".key -set_serial " + serial + " -days 2 -extfile ext -out " + name + ".pem");
  }

  std::string ReadFile(const std::string& name) {
    std::ifstream stream(directory_ + "/" + name);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  void UseTls(const std::string& name, const std::string& client_ca = "") {
    configuration_.options.tls_cert = directory_ + "/" + name + ".pem";
    configuration_.options.tls_key = directory_ + "/" + name + ".key";
    if (!client_ca.empty()) configuration_.options.tls_client_ca = directory_ + "/" + client_ca + ".pem";
    configuration_.options.tls_reload = absl::Seconds(1);
    const absl::Status status = CheckTlsFiles(configuration_.options);
    ASSERT_TRUE(status.ok()) << status;
  }

  // A call over a fresh connection.
  grpc::Status CallOverTls(const std::string& ca, const std::string& client = "") {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadFile(ca + ".pem");
    if (!client.empty()) {
      options.pem_cert_chain = ReadFile(client + ".pem");
      options.pem_private_key = ReadFile(client + ".key");
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = precis::v1::Summarizer::NewStub(
        grpc::CreateCustomChannel(server_->address(), grpc::SslCredentials(options), arguments));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    SummarizeResponse response;
    return stub->Summarize(&context, Request(), &response);
  }
};

TEST_F(TlsTest, ServesOverTlsOnly) {
  MakeCertificate("server", "ca", "1");
  MakeCertificate("unrelated", "other-ca", "2");
  UseTls("server");
  Start();
  const grpc::Status status = CallOverTls("ca");
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(CallOverTls("other-ca").error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(Call().ok());  // plain text
}

TEST_F(TlsTest, MutualTlsAsksForACertificateOfTheCa) {
  MakeCertificate("server", "ca", "1");
  MakeCertificate("client", "client-ca", "2");
  MakeCertificate("stranger", "other-ca", "3");
  UseTls("server", "client-ca");
  Start();
  const grpc::Status status = CallOverTls("ca", "client");
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(CallOverTls("ca").ok());
  EXPECT_FALSE(CallOverTls("ca", "stranger").ok());
}

TEST_F(TlsTest, NewCertificatesAreUsedWithoutARestart) {
  MakeCertificate("server", "ca", "1");
  MakeCertificate("next", "next-ca", "2");
  UseTls("server");
  Start();
  ASSERT_TRUE(CallOverTls("ca").ok());
  ASSERT_FALSE(CallOverTls("next-ca").ok());
  Run("mv next.key server.key && mv next.pem server.pem");
  EXPECT_TRUE(Eventually([&] { return CallOverTls("next-ca").ok(); }));
  EXPECT_FALSE(CallOverTls("ca").ok());
}

TEST_F(TlsTest, BadFilesAreRefusedAtStartUp) {
  MakeCertificate("server", "ca", "1");
  MakeCertificate("other", "ca", "2");
  ServerOptions options;
  options.tls_cert = directory_ + "/server.pem";
  options.tls_key = directory_ + "/other.key";
  EXPECT_THAT(std::string(CheckTlsFiles(options).message()), HasSubstr("does not belong to"));
  options.tls_key = directory_ + "/server.pem";
  EXPECT_THAT(std::string(CheckTlsFiles(options).message()), HasSubstr("holds no private key"));
  options.tls_cert = directory_ + "/server.key";
  EXPECT_THAT(std::string(CheckTlsFiles(options).message()), HasSubstr("holds no certificate"));
}

}  // namespace
}  // namespace precis::server
