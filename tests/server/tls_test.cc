// TLS over real sockets: what is served, what is asked for, and how files are replaced.
#include <grpcpp/security/credentials.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "server/credentials.h"
#include "tests/server/process_fixture.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;

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
    precis::v1::SummarizeResponse response;
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

// A rotation that writes one file first, in either order, and takes longer than the files are looked at.
class TlsRotationTest : public TlsTest {
 protected:
  void StartWithNextAtHand() {
    MakeCertificate("server", "ca", "1");
    MakeCertificate("next", "next-ca", "2");
    UseTls("server");
    Start();
    ASSERT_TRUE(CallOverTls("ca").ok());
    ASSERT_FALSE(CallOverTls("next-ca").ok());
  }

  // The old certificate serves every new connection, over more than two looks at the files.
  void ExpectOldServes() {
    const absl::Time end = absl::Now() + 2.5 * configuration_.options.tls_reload;
    while (absl::Now() < end) {
      const grpc::Status status = CallOverTls("ca");
      ASSERT_TRUE(status.ok()) << status.error_message();
      absl::SleepFor(absl::Milliseconds(100));
    }
  }

  void ExpectNextServes() {
    EXPECT_TRUE(Eventually([&] { return CallOverTls("next-ca").ok(); }));
    EXPECT_FALSE(CallOverTls("ca").ok());
    EXPECT_THAT(LogText(), HasSubstr("TLS files read again"));
  }

  static int Count(const std::string& text, const std::string& part) {
    int count = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
    return count;
  }
};

TEST_F(TlsRotationTest, KeyFirst) {
  StartWithNextAtHand();
  Run("mv next.key server.key");
  ExpectOldServes();
  EXPECT_EQ(Count(LogText(), "does not belong to"), 1) << "said once, not at each look";
  Run("mv next.pem server.pem");
  ExpectNextServes();
}

TEST_F(TlsRotationTest, CertificateFirst) {
  StartWithNextAtHand();
  Run("mv next.pem server.pem");
  ExpectOldServes();
  Run("mv next.key server.key");
  ExpectNextServes();
}

TEST_F(TlsRotationTest, FilesThatAreHalfWrittenOrGone) {
  StartWithNextAtHand();
  Run("rm server.key");
  ExpectOldServes();
  EXPECT_THAT(LogText(), HasSubstr("server.key can't be read"));
  Run("mv next.key server.key && head -c 300 next.pem > server.pem");
  ExpectOldServes();
  EXPECT_THAT(LogText(), HasSubstr("holds no certificate"));
  Run("cat next.pem > server.pem && head -c 300 ca.pem >> server.pem");  // a chain that is cut off
  ExpectOldServes();
  EXPECT_THAT(LogText(), HasSubstr("ends in a broken certificate"));
  Run("mv next.pem server.pem");
  ExpectNextServes();
}

TEST_F(TlsRotationTest, TheClientCaToo) {
  MakeCertificate("server", "ca", "1");
  MakeCertificate("client", "client-ca", "2");
  MakeCertificate("new-client", "new-client-ca", "3");
  UseTls("server", "client-ca");
  Start();
  ASSERT_TRUE(CallOverTls("ca", "client").ok());
  ASSERT_FALSE(CallOverTls("ca", "new-client").ok());
  Run("mv new-client-ca.pem client-ca.pem");
  EXPECT_TRUE(Eventually([&] { return CallOverTls("ca", "new-client").ok(); }));
  EXPECT_FALSE(CallOverTls("ca", "client").ok());
}

}  // namespace
}  // namespace precis::server
