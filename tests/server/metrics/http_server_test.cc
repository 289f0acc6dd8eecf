#include "server/metrics/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/metrics/exposition.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A connection that the test writes and reads by hand; closed with the object.
class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer = 0) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    const timeval timeout = {.tv_sec = 20, .tv_usec = 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~RawClient() { close(socket_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool Write(const std::string& bytes) {
    return send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // Everything until the peer closes.
  std::string ReadAll() {
    std::string all;
    char buffer[4096];
    for (ssize_t got; (got = recv(socket_, buffer, sizeof(buffer), 0)) > 0;) all.append(buffer, got);
    return all;
  }

 private:
  int socket_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() : metrics_(Metrics::Create({"1", "c", "g++", "avx2"})) {
    auto server = HttpServer::Start("127.0.0.1:0", metrics_.get(),
                                    {.ready = [this] { return ready_.load(); },
                                     .status_json = [] { return std::string(R"({"version": "1"})"); }});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }

  httplib::Result Get(const std::string& path, const httplib::Headers& headers = {}) {
    httplib::Client client("127.0.0.1", server_->port());
    client.set_read_timeout(20);
    return client.Get(path, headers);
  }

  std::unique_ptr<Metrics> metrics_;
  std::atomic<bool> ready_{false};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ServesTheMetrics) {
  metrics_->OnPreempted({"m", "flash", "cpu"});
  const auto response = Get("/metrics");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(Exposition(response->body).Sum("precis_preemptions_total"), 1);
}

TEST_F(HttpServerTest, CompressesWithGzipOnly) {
  const auto gzip = Get("/metrics", {{"Accept-Encoding", "gzip, deflate, br"}});
  ASSERT_TRUE(gzip);
  EXPECT_EQ(gzip->get_header_value("Content-Encoding"), "gzip");
  EXPECT_THAT(gzip->body, HasSubstr("precis_build_info"));
  const auto brotli = Get("/metrics", {{"Accept-Encoding", "br"}});
  ASSERT_TRUE(brotli);
  EXPECT_EQ(brotli->get_header_value("Content-Encoding"), "");
}

TEST_F(HttpServerTest, HealthAndReadiness) {
  EXPECT_EQ(Get("/healthz")->status, 200);
  EXPECT_EQ(Get("/readyz")->status, 503);
  EXPECT_EQ(Get("/healthz")->body, "ok\n");
  ready_ = true;
  EXPECT_EQ(Get("/readyz")->status, 200);
  ready_ = false;
  EXPECT_EQ(Get("/readyz")->status, 503);
  EXPECT_EQ(Get("/healthz")->status, 200) << "alive while it drains";
}

TEST_F(HttpServerTest, StatusPageIsWholeAndLoadsNothing) {
  const auto page = Get("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_THAT(page->body, HasSubstr("</html>"));
  EXPECT_THAT(page->body, HasSubstr("histogram_quantile"));
  EXPECT_THAT(page->body, Not(HasSubstr("PRECIS_NONCE")));
  EXPECT_THAT(page->body, Not(HasSubstr("src=")));
  EXPECT_THAT(page->body, Not(HasSubstr("https:")));
  const std::string policy = page->get_header_value("Content-Security-Policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  EXPECT_EQ(page->get_header_value("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(page->get_header_value("X-Frame-Options"), "DENY");
  EXPECT_NE(policy, Get("/")->get_header_value("Content-Security-Policy")) << "a nonce is used once";
}

TEST_F(HttpServerTest, StatusJson) {
  EXPECT_EQ(Get("/status.json")->body, R"({"version": "1"})");
  EXPECT_EQ(Get("/status.json")->get_header_value("Content-Type"), "application/json");
}

TEST_F(HttpServerTest, RefusesWhatItDoesNotServe) {
  for (const char* path : {"/nope", "/metrics/", "/metrics/x", "//", "/../etc/passwd", "/index.html"}) {
    EXPECT_EQ(Get(path)->status, 404) << path;
    EXPECT_THAT(Get(path)->body, HasSubstr("/metrics")) << "says what there is";
  }
  httplib::Client client("127.0.0.1", server_->port());
  const auto post = client.Post("/metrics", std::string(1 << 20, 'x'), "text/plain");
  ASSERT_TRUE(post);
  EXPECT_EQ(post->status, 405);
  EXPECT_EQ(client.Delete("/metrics")->status, 405);
  EXPECT_EQ(client.Head("/metrics")->status, 200);
}

TEST_F(HttpServerTest, SurvivesGarbage) {
  for (const std::string& bytes : {std::string("\x16\x03\x01\x02\x00\x01\x00", 7), std::string("GET\r\n\r\n"),
                                   "GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n\r\n", std::string(100000, '\0')}) {
    RawClient client(server_->port());
    client.Write(bytes);
    client.Write("\r\n\r\n");
    EXPECT_THAT(client.ReadAll(), Not(HasSubstr("200 OK")));
  }
  std::string endless = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 20000; ++i) endless += "X-Header: value\r\n";
  RawClient client(server_->port());
  client.Write(endless);
  EXPECT_THAT(client.ReadAll(), Not(HasSubstr("200 OK"))) << "more header than the bound";
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(HttpServerTest, SlowSendersDoNotHoldIt) {
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 40; ++i) slow.push_back(std::make_unique<RawClient>(server_->port()));
  std::thread dribble([&] {
    for (const char c : std::string("GET /metrics HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) {
      for (auto& client : slow) client->Write(std::string(1, c));
      absl::SleepFor(absl::Milliseconds(100));
      if (stop) return;
    }
  });
  const absl::Time start = absl::Now();
  const auto health = Get("/healthz");
  EXPECT_TRUE(health);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  stop = true;
  dribble.join();
}

TEST_F(HttpServerTest, SlowReadersDoNotHoldIt) {
  for (int i = 0; i < 200; ++i) {  // more than the sockets buffer
    const std::string model = absl::StrCat("model-", i);
    metrics_->OnScheduled({model, "flash", "cpu"}, absl::Seconds(1));
    metrics_->OnToken({model, "flash", "cpu"}, absl::Seconds(1));
    metrics_->OnFirstToken({model, "flash", "cpu"}, absl::Seconds(1), absl::Seconds(1));
  }
  ASSERT_GT(metrics_->Serialize().size(), size_t{3} << 19);
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 24; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_->port(), /*receive_buffer=*/4096));
    slow.back()->Write("GET /metrics HTTP/1.1\r\n\r\n");
  }
  const absl::Time start = absl::Now();
  const auto health = Get("/healthz");
  ASSERT_TRUE(health);
  EXPECT_EQ(health->status, 200);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST_F(HttpServerTest, MoreConnectionsThanItHoldsAreTurnedAway) {
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 300; ++i) idle.push_back(std::make_unique<RawClient>(server_->port()));
  idle.erase(idle.begin(), idle.begin() + 200);
  int turned_away = 0;
  for (auto& client : idle) turned_away += client->ReadAll().find("503 Service Unavailable") != std::string::npos;
  EXPECT_GT(turned_away, 0);
  idle.clear();
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(HttpServerTest, StopsAtOnceWithConnectionsOpen) {
  RawClient idle(server_->port()), half(server_->port());
  half.Write("GET / HTT");
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time start = absl::Now();
  server_.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
  EXPECT_EQ(idle.ReadAll(), "");
}

TEST_F(HttpServerTest, ATakenPortIsUnavailable) {
  const auto second = HttpServer::Start(absl::StrCat("127.0.0.1:", server_->port()), metrics_.get(), {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--metrics-listen"));
}

TEST_F(HttpServerTest, BadAddressesAreExplained) {
  for (const char* address : {"", "localhost", "localhost:", "localhost:http", "localhost:70000", ":9464", "[::1:9464"}) {
    const auto server = HttpServer::Start(address, metrics_.get(), {});
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

TEST_F(HttpServerTest, StartsAndStopsManyTimes) {
  for (int i = 0; i < 50; ++i) {
    const auto server = HttpServer::Start("127.0.0.1:0", metrics_.get(), {});
    ASSERT_TRUE(server.ok()) << server.status();
    EXPECT_GT((*server)->port(), 0);
  }
}

}  // namespace
}  // namespace precis::server
