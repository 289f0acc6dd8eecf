#include "server/metrics/http_server.h"

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "runtime/base/mutex.h"
#include "server/metrics/http_connection.h"
#include "server/metrics/status_page.h"

namespace precis::server {
namespace {

constexpr char kPlain[] = "text/plain; charset=utf-8";

struct HostPort {
  std::string host;
  int port = 0;
};

// "host:port" or "[v6]:port".
absl::StatusOr<HostPort> ParseAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort result;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &result.port) || result.port < 0 ||
      result.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address '", address, "': give host:port with a port from 0 to 65535 (0: a free one)"));
  }
  absl::string_view host = absl::string_view(address).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[") != absl::ConsumeSuffix(&host, "]") || host.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address '", address, "': give a host, for example 127.0.0.1:9464 or [::1]:9464"));
  }
  result.host = std::string(host);
  return result;
}

std::string MakeNonce() {
  std::random_device random;
  return absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random());
}

// httplib would choose brotli at its slowest level, which takes a second for a scrape.
void KeepGzipOnly(httplib::Request& request) {
  const bool gzip = request.get_header_value("Accept-Encoding").find("gzip") != std::string::npos;
  request.headers.erase("Accept-Encoding");
  if (gzip) request.headers.emplace("Accept-Encoding", "gzip");
}

// httplib's server with our bounds on connections: it accepts, parses and routes; threads, deadlines and the end of a
// connection are ours. One request a connection.
class BoundedServer final : public httplib::Server {
 public:
  BoundedServer() {
    new_task_queue = [this] { return new BoundedPool(limits_, &waiting_); };
    // Not httplib's default, SO_REUSEPORT: a second server on our port must fail.
    // A bounded send buffer (connections inherit it): a reader that stalls holds no more of the kernel's memory.
    set_socket_options([](socket_t socket) {
      const int yes = 1, send_buffer = 256 << 10;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
      setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    });
    set_payload_max_length(0);
  }
  // httplib listens with a backlog of 5, so that a burst of connections would wait for TCP's retries.
  void WidenBacklog() { ::listen(svr_sock_, SOMAXCONN); }
  void Stop() {
    stopping_.store(true);
    stop();
  }

  bool process_and_close_socket(socket_t socket) override {
    if (BoundedPool::refused()) {
      constexpr std::string_view kBusy =
          "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      (void)!send(socket, kBusy.data(), kBusy.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      close(socket);
      return false;
    }
    DeadlineStream stream(socket, limits_, &waiting_, &stopping_);
    bool closed = false;
    const bool served = process_request(stream, /*close_connection=*/true, closed, KeepGzipOnly);
    CloseGently(socket);
    return served;
  }

 private:
  const HttpLimits limits_;
  std::atomic<int> waiting_{0};
  std::atomic<bool> stopping_{false};
};

// Writes the registry for scrapes that come at once only once: an answer is shared by all who asked before it was begun.
class Scraper {
 public:
  explicit Scraper(Metrics* metrics) : metrics_(metrics) {}

  std::shared_ptr<const std::string> Scrape() {
    const absl::Time asked = absl::Now();
    MutexLock lock(&mutex_);
    if (text_ == nullptr || begun_ < asked) {
      begun_ = absl::Now();
      text_ = std::make_shared<const std::string>(metrics_->Serialize());
    }
    return text_;
  }

 private:
  Metrics* const metrics_;
  Mutex mutex_;
  absl::Time begun_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const std::string> text_ ABSL_GUARDED_BY(mutex_);
};

class HttpServerImpl final : public HttpServer {
 public:
  HttpServerImpl(Metrics* metrics, Callbacks callbacks) : scraper_(metrics), callbacks_(std::move(callbacks)) {
    AddHeaders();
    AddPages();
  }

  ~HttpServerImpl() override {
    if (!thread_.joinable()) return;
    server_.Stop();
    thread_.join();
  }

  absl::Status Listen(const HostPort& address) {
    if (address.port == 0) {
      port_ = server_.bind_to_any_port(address.host);
    } else if (server_.bind_to_port(address.host, address.port)) {
      port_ = address.port;
    }
    if (port_ <= 0) {
      return absl::UnavailableError(absl::StrCat("can't listen on ", address.host, ":", address.port,
                                                 " for metrics: the port is taken or the address is not ours; "
                                                 "choose another with --metrics-listen"));
    }
    server_.WidenBacklog();
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // httplib's stop() is lost on a server that does not run yet.
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return absl::OkStatus();
  }

  int port() const override { return port_; }
  void Serve(int socket) override { server_.process_and_close_socket(socket); }

 private:
  void AddHeaders() {
    server_.set_default_headers({{"X-Content-Type-Options", "nosniff"},
                                 {"X-Frame-Options", "DENY"},
                                 {"Referrer-Policy", "no-referrer"},
                                 {"Cross-Origin-Resource-Policy", "same-origin"},
                                 {"Cache-Control", "no-store"}});
    server_.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
      if (request.method == "GET" || request.method == "HEAD") return httplib::Server::HandlerResponse::Unhandled;
      response.status = 405;
      response.set_header("Allow", "GET, HEAD");
      response.set_content("only GET and HEAD are served here\n", kPlain);
      return httplib::Server::HandlerResponse::Handled;
    });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      response.set_content(response.status == 404
                               ? "not found; served here: / /experiments /metrics /healthz /readyz /status.json /experiments.json\n"
                               : absl::StrCat(response.status, "\n"),
                           kPlain);
    });
    server_.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
      response.status = 500;
      response.set_content("internal error\n", kPlain);
    });
  }

  void AddPages() {
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(*scraper_.Scrape(), "text/plain; version=0.0.4; charset=utf-8");
    });
    server_.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("ok\n", kPlain);
    });
    server_.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
      const bool ready = callbacks_.ready != nullptr && callbacks_.ready();
      response.status = ready ? 200 : 503;
      response.set_content(ready ? "ready\n" : "not ready: starting or draining\n", kPlain);
    });
    server_.Get("/status.json", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(callbacks_.status_json ? callbacks_.status_json() : "{}", "application/json");
    });
    server_.Get("/experiments.json", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(callbacks_.experiments_json ? callbacks_.experiments_json() : "[]", "application/json");
    });
    AddPage("/", kStatusPage);
    AddPage("/experiments", kExperimentsPage);
  }

  void AddPage(const char* path, std::string_view page) {
    server_.Get(path, [page](const httplib::Request&, httplib::Response& response) {
      const std::string nonce = MakeNonce();
      response.set_header("Content-Security-Policy",
                          absl::StrCat("default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
                                       "form-action 'none'; frame-ancestors 'none'; script-src 'nonce-",
                                       nonce, "'; style-src 'nonce-", nonce, "'"));
      response.set_content(absl::StrReplaceAll({page.data(), page.size()}, {{"PRECIS_NONCE", nonce}}), "text/html; charset=utf-8");
    });
  }

  Scraper scraper_;
  const Callbacks callbacks_;
  BoundedServer server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address, Metrics* metrics,
                                                              Callbacks callbacks) {
  absl::StatusOr<HostPort> parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  auto server = std::make_unique<HttpServerImpl>(metrics, std::move(callbacks));
  if (absl::Status status = server->Listen(*parsed); !status.ok()) return status;
  return server;
}

}  // namespace precis::server
