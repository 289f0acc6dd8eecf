#ifndef PRECIS_TESTS_SERVER_SERVER_FIXTURE_H_
#define PRECIS_TESTS_SERVER_SERVER_FIXTURE_H_

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "precis/v1/summarizer.grpc.pb.h"
#include "server/process.h"
#include "server/text.h"
#include "tests/server/fake_engine.h"

namespace precis::server {

// A whole server on a free port of 127.0.0.1, over a fake engine, and a client for it.
class ServerFixture : public ::testing::Test {
 protected:
  ServerFixture() {
    std::string name = ::testing::TempDir() + "/server-XXXXXX";
    directory_ = mkdtemp(name.data());
    configuration_.options.listen = "127.0.0.1:0";
    configuration_.options.metrics_listen = "off";
    configuration_.options.drain_timeout = absl::Seconds(20);
  }

  ~ServerFixture() override {
    stub_.reset();
    server_.reset();
    log_.reset();
    std::system(("rm -rf " + directory_).c_str());
  }

  void Start(bool load = true) {
    auto log = Logger::Open({LogFormat::kJson, LogLevel::kDebug, directory_ + "/log", int64_t{64} << 20});
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    auto server = Server::Start(configuration_, &metrics_, log_.get());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = precis::v1::Summarizer::NewStub(MakeChannel());
    if (load) Load();
  }

  void Load() {
    auto engine = std::make_unique<FakeEngine>();
    engine_ = engine.get();
    const absl::Status status = server_->Load([&] { return std::move(engine); });
    ASSERT_TRUE(status.ok()) << status;
  }

  virtual std::shared_ptr<grpc::Channel> MakeChannel() {
    return grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  }

  std::string LogText() {
    log_->Flush(absl::Seconds(5));
    std::ifstream stream(directory_ + "/log");
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  static precis::v1::SummarizeRequest Request(const std::string& document = "A document.") {
    precis::v1::SummarizeRequest request;
    request.set_document(document);
    return request;
  }

  // True once `condition` is, within ten seconds.
  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return condition();
  }

  static std::string Trailer(const grpc::ClientContext& context, const std::string& key) {
    const auto& metadata = context.GetServerTrailingMetadata();
    const auto entry = metadata.find(key);
    return entry == metadata.end() ? "" : std::string(entry->second.data(), entry->second.size());
  }

  static std::string Initial(const grpc::ClientContext& context, const std::string& key) {
    const auto& metadata = context.GetServerInitialMetadata();
    const auto entry = metadata.find(key);
    return entry == metadata.end() ? "" : std::string(entry->second.data(), entry->second.size());
  }

  std::string directory_;
  Configuration configuration_;
  FakeMetrics metrics_;
  std::unique_ptr<Logger> log_;
  std::unique_ptr<Server> server_;
  FakeEngine* engine_ = nullptr;
  std::unique_ptr<precis::v1::Summarizer::Stub> stub_;
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_SERVER_FIXTURE_H_
