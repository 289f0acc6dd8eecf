#include "server/metrics/http_connection.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"

namespace precis::server {
namespace {

// How often a waiting connection looks at its deadline and at the server's state.
constexpr absl::Duration kSlice = absl::Milliseconds(50);
thread_local bool job_refused = false;

}  // namespace

BoundedPool::BoundedPool(const HttpLimits& limits, std::atomic<int>* waiting)
    : bound_(limits.pending_connections), waiting_(waiting) {
  for (int i = 0; i < limits.threads; ++i) threads_.emplace_back([this] { Work(); });
}

bool BoundedPool::refused() { return job_refused; }

void BoundedPool::enqueue(std::function<void()> job) {
  {
    MutexLock lock(&mutex_);
    if (jobs_.size() < bound_) {
      jobs_.push_back(std::move(job));
      waiting_->store(static_cast<int>(jobs_.size()));
      wake_.Signal();
      return;
    }
  }
  job_refused = true;
  job();
  job_refused = false;
}

void BoundedPool::shutdown() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
}

void BoundedPool::Work() {
  for (;;) {
    std::function<void()> job;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && jobs_.empty()) wake_.Wait(&mutex_);
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      waiting_->store(static_cast<int>(jobs_.size()));
    }
    job();
  }
}

DeadlineStream::DeadlineStream(int socket, const HttpLimits& limits, const std::atomic<int>* waiting,
                               const std::atomic<bool>* stopping)
    : socket_(socket), limits_(limits), waiting_(waiting), stopping_(stopping), start_(absl::Now()) {}

bool DeadlineStream::Await(short events) const {
  for (;;) {
    if (stopping_->load()) return false;
    const absl::Duration bound = waiting_->load() > 0 ? limits_.deadline_when_busy : limits_.deadline;
    const absl::Duration left = start_ + bound - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    pollfd entry = {.fd = socket_, .events = events, .revents = 0};
    const int64_t wait_ms = absl::ToInt64Milliseconds(std::min(left, kSlice)) + 1;
    const int ready = poll(&entry, 1, static_cast<int>(wait_ms));
    if (ready > 0) return (entry.revents & (events | POLLHUP)) != 0;
    if (ready < 0 && errno != EINTR) return false;
  }
}

ssize_t DeadlineStream::read(char* data, size_t size) {
  if (begin_ == end_) {
    if (read_bytes_ >= limits_.request_bytes || !is_readable()) return -1;
    const ssize_t got = recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got <= 0) return got;
    read_bytes_ += static_cast<size_t>(got);
    begin_ = 0;
    end_ = static_cast<size_t>(got);
  }
  const size_t count = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t DeadlineStream::write(const char* data, size_t size) {
  if (!writing_) {
    writing_ = true;
    start_ = absl::Now();
  }
  if (!is_writable()) return -1;
  return send(socket_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void DeadlineStream::Address(bool remote, std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if ((remote ? getpeername : getsockname)(socket_, generic, &length) != 0) return;
  char host[NI_MAXHOST], service[NI_MAXSERV];
  if (getnameinfo(generic, length, host, sizeof(host), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return;
  }
  ip = host;
  port = std::atoi(service);
}

// A close with unread bytes would reset the connection, and the peer might lose the answer: what it still sends is thrown away, for a while.
void CloseGently(int socket) {
  constexpr auto kLongest = std::chrono::milliseconds(320);
  constexpr int64_t kMostBytes = 4 << 20;
  shutdown(socket, SHUT_WR);
  char discard[16384];
  pollfd entry = {.fd = socket, .events = POLLIN, .revents = 0};
  const auto end = std::chrono::steady_clock::now() + kLongest;
  for (int64_t bytes = 0; bytes < kMostBytes && std::chrono::steady_clock::now() < end;) {
    if (poll(&entry, 1, 20) <= 0) break;
    const ssize_t got = recv(socket, discard, sizeof(discard), MSG_DONTWAIT);
    if (got <= 0) break;
    bytes += got;
  }
  close(socket);
}

}  // namespace precis::server
