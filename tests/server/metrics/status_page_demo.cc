// The metrics port over a simulated engine: for the page's tests and for looking at it by hand.
//
//   status_page_demo [--port=0] [--idle] [--warm=SECONDS]
//
// Prints "port N" and serves until stdin closes. --idle: no load. --warm: that much load has passed at the start.
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/time/clock.h"
#include "server/metrics/http_server.h"
#include "server/metrics/metrics.h"
#include "tests/server/metrics/synthetic_load.h"

namespace {

constexpr absl::Duration kStep = absl::Milliseconds(10);

bool StdinClosed() {
  pollfd entry = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  char byte;
  return poll(&entry, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string port = "0";
  bool idle = false;
  double warm_seconds = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--port=", 7) == 0) {
      port = argv[i] + 7;
    } else if (std::strncmp(argv[i], "--warm=", 7) == 0) {
      warm_seconds = std::atof(argv[i] + 7);
    } else if (std::strcmp(argv[i], "--idle") == 0) {
      idle = true;
    } else {
      std::fprintf(stderr, "usage: status_page_demo [--port=0] [--idle] [--warm=SECONDS]\n");
      return 2;
    }
  }
  auto metrics = precis::server::Metrics::Create({"0.1.0", "demo", "none", "avx2"});
  precis::server::SyntheticLoad load(metrics.get());
  const int64_t started = absl::ToUnixSeconds(absl::Now());
  auto server = precis::server::HttpServer::Start(
      "127.0.0.1:" + port, metrics.get(),
      {.ready = [] { return true; },
       .status_json = [started] { return precis::server::SyntheticLoad::StatusJson(started); }});
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
    return 1;
  }
  for (double t = 0; t < warm_seconds; t += absl::ToDoubleSeconds(kStep)) load.Advance(kStep);
  std::printf("port %d\n", (*server)->port());
  std::fflush(stdout);
  absl::Time next = absl::Now();
  while (!StdinClosed()) {
    if (!idle) load.Advance(kStep);
    next += kStep;
    absl::SleepFor(next - absl::Now());
  }
  return 0;
}
