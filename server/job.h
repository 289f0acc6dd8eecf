#ifndef PRECIS_SERVER_JOB_H_
#define PRECIS_SERVER_JOB_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "precis/v1/summarizer.pb.h"
#include "server/server_core.h"
#include "server/status_mapping.h"

namespace precis::server {

// One document on its way through the server, whichever RPC brought it.
//
//   auto job = std::make_shared<Job>(core, info);
//   if (job->Prepare(request)) job->Start(on_text, on_done);   // else the answer is there already
//   job->Cancel();                                             // at any time
//   ... on_done: job->wire(), job->response(), job->AddTrailingMetadata(...)
//
// Prepare and Start are called by one thread, Cancel by any. The answer is read after on_done (or a failed Prepare). It is counted and logged
// once, before that.
class Job : public std::enable_shared_from_this<Job> {
 public:
  Job(ServerCore* core, CallInfo info);

  // Checks the request and chooses the experiment's arm. `request` must outlive the job. `admission` is a refusal found earlier.
  bool Prepare(const precis::v1::SummarizeRequest& request, const absl::Status& admission = absl::OkStatus());
  // on_text is called on the engine's thread and may be empty; on_done once, on the delivery thread.
  void Start(std::function<void(const std::string&)> on_text, std::function<void()> on_done);
  void Cancel();

  const WireStatus& wire() const { return wire_; }
  precis::v1::SummarizeResponse& response() { return response_; }
  const std::string& client_request_id() const { return request_->client_request_id(); }

  // precis-experiment, precis-arm and so on; after a successful Prepare.
  void AddInitialMetadata(grpc::CallbackServerContext* context) const;
  // grpc-retry-pushback-ms and the accounting; when the answer is there.
  void AddTrailingMetadata(grpc::CallbackServerContext* context) const;

 private:
  absl::Status Assign();
  absl::Status CheckModel(const std::string& model) const;  // PERMISSION_DENIED unless the caller's token allows it
  absl::StatusOr<runtime::Catalog::Choice> ResolveArm(const runtime::Catalog& catalog, const Experiment& experiment,
                                                      const Arm& arm) const;
  void Submit(std::function<void(const std::string&)> on_text);
  void FinishOnDelivery(absl::StatusOr<runtime::Result> result);
  void Complete(const absl::StatusOr<runtime::Result>& result);
  void CountForArm(const absl::StatusOr<runtime::Result>& result);
  void ApplyArmOptions(const Arm& arm);
  void Count(std::string_view finish_reason);
  void Log(const absl::StatusOr<runtime::Result>& result);
  runtime::RequestLabels labels() const;

  ServerCore* const core_;
  const CallInfo info_;
  const precis::v1::SummarizeRequest* request_ = nullptr;
  runtime::Engine* engine_ = nullptr;
  runtime::Request runtime_request_;

  std::string model_ = "none", backend_ = "none", device_ = "cpu";  // as resolved; metric labels
  precis::v1::Assignment assignment_;
  std::shared_ptr<const ExperimentConfig> experiments_;  // holds what assigned_ points to
  AssignmentResult assigned_;
  runtime::ArmLabels arm_labels_;

  runtime::Request shadow_request_;  // of an arm's request, if it may be replayed
  bool counted_as_user_ = false;
  std::function<void()> on_done_;
  WireStatus wire_;
  precis::v1::SummarizeResponse response_;

  absl::Mutex mutex_;
  std::optional<runtime::RequestId> id_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_JOB_H_
