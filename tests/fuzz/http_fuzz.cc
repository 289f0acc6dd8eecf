// The input is what a peer sends to the metrics port, on one connection that it then half-closes. Whatever it is, the answer is nothing
// or one well-formed response with the headers that every answer has.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <iostream>
#include <string>
#include <string_view>

#include "server/metrics/http_server.h"

namespace {

using precis::server::HttpServer;
using precis::server::Metrics;

void Require(bool condition, std::string_view what, std::string_view answer = {}) {
  if (condition) return;
  std::cerr << "broken: " << what << "\n" << answer << "\n";
  std::abort();
}

std::unique_ptr<HttpServer> StartOrExit() {
  static const auto metrics = Metrics::Create({"1", "c", "compiler", "avx2"});
  auto server = HttpServer::Start("127.0.0.1:0", metrics.get(),
                                  {.ready = [] { return true; }, .status_json = [] { return std::string("{}"); }});
  if (server.ok()) return *std::move(server);
  std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
  std::exit(1);
}

// What a server answers to `bytes`.
std::string Ask(HttpServer& server, std::string_view bytes) {
  int sockets[2];
  Require(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair");
  const int space = 4 << 20;  // the answer is read after it was written whole
  for (const int socket : sockets) ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &space, sizeof(space));
  Require(::send(sockets[0], bytes.data(), bytes.size(), MSG_DONTWAIT) == static_cast<ssize_t>(bytes.size()), "send");
  ::shutdown(sockets[0], SHUT_WR);
  server.Serve(sockets[1]);
  std::string answer;
  std::array<char, 65536> buffer;
  for (ssize_t got; (got = ::recv(sockets[0], buffer.data(), buffer.size(), 0)) > 0;) answer.append(buffer.data(), got);
  ::close(sockets[0]);
  return answer;
}

void CheckAnswer(std::string_view answer) {
  if (answer.starts_with("HTTP/1.1 100 ")) answer.remove_prefix(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
  if (answer.empty()) return;
  Require(answer.starts_with("HTTP/1.1 ") && answer.size() > 12 && answer[9] >= '2' && answer[9] <= '5', "status line", answer);
  const size_t end = answer.find("\r\n\r\n");
  Require(end != answer.npos, "headers without an end", answer);
  const std::string_view head = answer.substr(0, end + 2);
  Require(head.find("\r\nX-Content-Type-Options: nosniff\r\n") != head.npos, "a header is missing", answer);
  for (size_t i = 0; i < head.size(); ++i) {
    const unsigned char c = head[i];
    Require((c >= 0x20 && c != 0x7f) || c == '\r' || c == '\n' || c == '\t', "a control character in the headers", head);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const server = StartOrExit().release();
  CheckAnswer(Ask(*server, {reinterpret_cast<const char*>(data), size}));
  return 0;
}
