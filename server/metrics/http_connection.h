#ifndef PRECIS_SERVER_METRICS_HTTP_CONNECTION_H_
#define PRECIS_SERVER_METRICS_HTTP_CONNECTION_H_

#include <httplib.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "runtime/base/mutex.h"

namespace precis::server {

// Bounds that hold for every connection, so that no peer can hold a thread.
struct HttpLimits {
  int threads = 16;
  int pending_connections = 64;  // accepted and waiting for a thread; more are closed at once
  // For reading a request, and again for writing its answer; the shorter one while other connections wait for a thread.
  absl::Duration deadline = absl::Seconds(10);
  absl::Duration deadline_when_busy = absl::Milliseconds(250);
  size_t request_bytes = size_t{64} << 10;
};

// A pool whose queue is bounded. A job that does not fit runs on the caller's thread with refused() true, so that it
// can close its socket.
class BoundedPool final : public httplib::TaskQueue {
 public:
  BoundedPool(const HttpLimits& limits, std::atomic<int>* waiting);
  void enqueue(std::function<void()> job) override;
  void shutdown() override;
  static bool refused();

 private:
  void Work();

  const size_t bound_;
  std::atomic<int>* const waiting_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// One connection's bytes under a deadline that shrinks while others wait. Not thread-safe.
class DeadlineStream final : public httplib::Stream {
 public:
  DeadlineStream(int socket, const HttpLimits& limits, const std::atomic<int>* waiting,
                 const std::atomic<bool>* stopping);

  bool is_readable() const override { return Await(POLLIN); }
  bool is_writable() const override { return Await(POLLOUT); }
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override { Address(true, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { Address(false, ip, port); }
  socket_t socket() const override { return socket_; }

 private:
  // False when the deadline passes, the server stops or the peer is gone.
  bool Await(short events) const;
  void Address(bool remote, std::string& ip, int& port) const;

  const int socket_;
  const HttpLimits& limits_;
  const std::atomic<int>* const waiting_;
  const std::atomic<bool>* const stopping_;
  absl::Time start_;  // of reading, then of writing
  bool writing_ = false;
  size_t read_bytes_ = 0;
  std::array<char, 4096> buffer_;
  size_t begin_ = 0, end_ = 0;
};

// Ends a connection without cutting off what was written: half-closes, lets the peer finish for a moment, closes.
void CloseGently(int socket);

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_HTTP_CONNECTION_H_
