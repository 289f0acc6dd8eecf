#include "runtime/training/metrics_port.h"

#include <httplib.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

struct HostPort {
  std::string host;
  int port = 0;
};

std::optional<HostPort> ParseHostPort(std::string address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size() || address.size() - colon > 6) return std::nullopt;
  HostPort parsed;
  for (const char c : address.substr(colon + 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    parsed.port = parsed.port * 10 + (c - '0');
  }
  parsed.host = address.substr(0, colon);
  const bool bracketed = parsed.host.front() == '[' && parsed.host.back() == ']' && parsed.host.size() > 2;
  if (bracketed) parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  if (parsed.port > 65535 || (!bracketed && parsed.host.find(':') != std::string::npos)) return std::nullopt;
  return parsed;
}

class MetricsPortImpl final : public MetricsPort {
 public:
  explicit MetricsPortImpl(std::string file) : file_(std::move(file)) {
    // Few threads and short waits: a reader that stalls neither slows training nor holds up its end.
    server_.new_task_queue = [] { return new httplib::ThreadPool(2); };
    server_.set_keep_alive_max_count(1);
    server_.set_read_timeout(std::chrono::seconds(1));
    server_.set_write_timeout(std::chrono::seconds(1));
    server_.set_payload_max_length(0);
    // Not httplib's default, SO_REUSEPORT: a second run on our port must fail.
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      std::ifstream text(file_, std::ios::binary);
      response.set_content(std::string(std::istreambuf_iterator<char>(text), {}), "text/plain; version=0.0.4; charset=utf-8");
    });
  }

  ~MetricsPortImpl() override {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

  absl::Status Listen(const HostPort& address) {
    if (address.port == 0) {
      port_ = server_.bind_to_any_port(address.host);
    } else if (server_.bind_to_port(address.host, address.port)) {
      port_ = address.port;
    }
    if (port_ <= 0) {
      return absl::UnavailableError(Cat("--metrics-listen: can't listen on ", address.host, ":", address.port,
                                        ": the port is taken or the address is not this machine's; port 0 takes a free one"));
    }
    host_ = address.host.find(':') == std::string::npos ? address.host : Cat("[", address.host, "]");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // stop() is lost on a server that does not run yet
    return absl::OkStatus();
  }

  std::string url() const override { return Cat("http://", host_, ":", port_, "/metrics"); }

 private:
  const std::string file_;
  httplib::Server server_;
  std::thread thread_;
  std::string host_;
  int port_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsPort>> MetricsPort::Start(const std::string& address, std::string file) {
  const std::optional<HostPort> parsed = ParseHostPort(address);
  if (!parsed.has_value()) return absl::InvalidArgumentError(Cat("--metrics-listen=", address, ": expected host:port, such as 127.0.0.1:9109"));
  auto port = std::make_unique<MetricsPortImpl>(std::move(file));
  PRECIS_TRY(port->Listen(*parsed));
  return std::unique_ptr<MetricsPort>(std::move(port));
}

}  // namespace precis::runtime
