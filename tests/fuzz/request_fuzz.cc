// The input is a SummarizeRequest on the wire. Whatever it holds, it is refused with INVALID_ARGUMENT or becomes a request that keeps the
// limits; ids that come from outside can't break the log.
#include <cstdlib>
#include <string>

#include "nlohmann/json.hpp"
#include "precis/v1/summarizer.pb.h"
#include "runtime/tokenizer.h"
#include "server/call_info.h"
#include "server/conversion.h"
#include "server/experiments/assignment.h"
#include "server/experiments/experiment.h"
#include "server/logger.h"

namespace precis::server {
namespace {

constexpr int64_t kMaxDocumentBytes = 4096;

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckLog(const precis::v1::SummarizeRequest& request) {
  const LogFields fields = LogFields().Add("id", request.client_request_id()).Add("document", request.document());
  const std::string line = FormatLogLine(LogFormat::kJson, absl::UnixEpoch(), LogLevel::kInfo, request.model(), fields);
  Require(nlohmann::json::accept(line) && line.find('\n') == line.size() - 1);
  const std::string text = FormatLogLine(LogFormat::kText, absl::UnixEpoch(), LogLevel::kInfo, request.model(), fields);
  Require(text.find('\n') == text.size() - 1);
}

void CheckAccepted(const precis::v1::SummarizeRequest& request) {
  size_t offset = 0;
  Require(!request.document().empty() && runtime::IsValidUtf8(request.document(), &offset));
  Require(static_cast<int64_t>(request.document().size()) <= kMaxDocumentBytes);
  Require(request.unit_id().size() <= 256 && request.client_request_id().size() <= 128);
  const runtime::Request out = ToRuntimeRequest(request);
  Require(out.document == request.document() && out.model == request.model());
  const absl::Status status = runtime::ValidateGenerationOptions(out.options, 50257, 1024);
  Require(status.ok() || absl::IsInvalidArgument(status));
  if (!status.ok()) return;
  Require(out.options.max_new_tokens >= 1 && out.options.max_new_tokens <= 1024);
  Require(out.options.min_new_tokens >= 0 && out.options.min_new_tokens <= out.options.max_new_tokens);
  Require(out.options.temperature >= 0 && out.options.temperature <= 100);  // false for NaN
  Require(out.options.top_p > 0 && out.options.top_p <= 1);
  Require(out.options.repetition_penalty > 0 && out.options.repetition_penalty <= 10);
  Require(out.options.stop_sequences.size() <= 8);
  Require(out.options.num_beams >= 1 && out.options.num_beams <= 16);
  Require(out.options.length_penalty >= -10 && out.options.length_penalty <= 10);
  Require(out.options.num_beams == 1 || (out.options.temperature == 0 && out.options.stop_sequences.empty()));
}

void CheckAssignment(const precis::v1::SummarizeRequest& request) {
  static const ExperimentConfig* const config = [] {
    auto* made = new ExperimentConfig;
    Experiment experiment;
    experiment.name = std::string("e");  // GCC 12 warns of an overlap that is none when the literal is assigned
    experiment.salt = std::string("s");
    experiment.arms = {{"a", 1, "flash", "", {}}, {"b", 2, "standard", "", {}}};
    made->experiments = {experiment};
    return made;
  }();
  // As in Job: a request without a unit is its own.
  const std::string unit = request.unit_id().empty() ? "request" : request.unit_id();
  const AssignmentResult result = AssignArm(*config, {.unit_id = unit,
                                                      .request_id = "request",
                                                      .model = request.model(),
                                                      .requested_backend = request.attention_backend(),
                                                      .now = absl::UnixEpoch(),
                                                      .metadata = nullptr});
  Require((result.reason == AssignmentReason::kForced) == !request.attention_backend().empty());
  Require((result.arm != nullptr) == request.attention_backend().empty());
}

}  // namespace
}  // namespace precis::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace precis::server;  // NOLINT: the target is this namespace's
  IsTraceparent({reinterpret_cast<const char*>(data), size});
  precis::v1::SummarizeRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  CheckLog(request);
  CheckAssignment(request);
  const absl::Status status = ValidateRequest(request, kMaxDocumentBytes);
  Require(status.ok() || absl::IsInvalidArgument(status));
  if (status.ok()) CheckAccepted(request);
  return 0;
}
