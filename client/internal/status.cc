#include "client/internal/status.h"

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/summarizer_client.h"

namespace precis::client {
namespace {

constexpr char kRetryAfterUrl[] = "precis.dev/retry-after-ms";
constexpr char kPushbackKey[] = "grpc-retry-pushback-ms";

struct ConnectProblem {
  absl::string_view in_grpc;  // part of gRPC's message
  absl::string_view in_words;
};
constexpr ConnectProblem kConnectProblems[] = {
    {"Connection refused", "connection refused: is precis-server running?"},
    {"DNS resolution failed", "the host name can't be resolved: check the address"},
    {"Domain name not found", "the host name can't be resolved: check the address"},
    {"No route to host", "no route to the host: check the address and the network"},
    {"Network is unreachable", "the network is unreachable: check the address and the network"},
    {"No such file", "there is no such socket: is precis-server running?"},
    {"Ssl handshake failed",
     "the TLS handshake failed: does the server use TLS, and is its certificate signed by the CA given "
     "(--tls-ca) for this host name?"},
    {"SSL_ERROR", "the TLS handshake failed: does the server use TLS, and is the CA given (--tls-ca) its own?"},
    {"timed out", "no answer in time: check the address and the network"},
    {"Socket closed", "the server closed the connection: does it expect TLS, or has it stopped?"},
    {"Connection reset", "the connection was reset: does the server expect TLS, or has it stopped?"},
};

std::string DescribeUnavailable(const std::string& message, const std::string& address) {
  for (const ConnectProblem& problem : kConnectProblems) {
    if (absl::StrContains(message, problem.in_grpc)) {
      return absl::StrCat("server ", address, ": ", problem.in_words);
    }
  }
  return message;
}

}  // namespace

absl::Status ToAbslStatus(const grpc::Status& status, const grpc::ClientContext* context,
                          const std::string& address) {
  if (status.ok()) return absl::OkStatus();
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) message = DescribeUnavailable(message, address);
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), message);
  if (context == nullptr) return result;
  const auto& trailers = context->GetServerTrailingMetadata();
  auto pushback = trailers.find(kPushbackKey);
  if (pushback == trailers.end()) return result;
  int64_t ms;
  const absl::string_view text(pushback->second.data(), pushback->second.size());
  // gRFC A6: what is no number means "do not retry", like a negative one.
  SetRetryAfter(absl::SimpleAtoi(text, &ms) && ms >= 0 ? absl::Milliseconds(ms) : -absl::Milliseconds(1),
                &result);
  return result;
}

void SetRetryAfter(absl::Duration wait, absl::Status* status) {
  status->SetPayload(kRetryAfterUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(wait))));
}

std::optional<absl::Duration> RetryAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryAfterUrl);
  int64_t ms;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &ms)) return std::nullopt;
  return absl::Milliseconds(ms);
}

}  // namespace precis::client
