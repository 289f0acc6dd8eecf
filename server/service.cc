#include "server/service.h"

#include <memory>

#include "server/conversion.h"
#include "server/job.h"
#include "server/stream_reactor.h"

namespace precis::server {
namespace {

// Summarize: one document, one answer.
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  UnaryReactor(ServerCore* core, grpc::CallbackServerContext* context, const precis::v1::SummarizeRequest& request,
               precis::v1::SummarizeResponse* response)
      : core_(core), context_(context), response_(response) {
    CallInfo info = ReadCallInfo(*context, "Summarize");
    AddCallMetadata(info, context);
    const absl::Status admission = core->Authenticate(Permission::kSummarize, &info);
    job_ = std::make_shared<Job>(core, std::move(info));
    if (!job_->Prepare(request, admission)) {
      Answer();
      return;
    }
    job_->AddInitialMetadata(context);
    job_->Start(nullptr, [this] { Answer(); });
  }

  void OnCancel() override { job_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  void Answer() {
    job_->AddTrailingMetadata(context_);
    context_->AddTrailingMetadata(kLoadReportKey, core_->load.Report(core_->engine));
    *response_ = std::move(job_->response());
    Finish(job_->wire().status);
  }

  ServerCore* const core_;
  grpc::CallbackServerContext* const context_;
  precis::v1::SummarizeResponse* const response_;
  std::shared_ptr<Job> job_;
};

}  // namespace

void SummarizerService::RefuseNew() {
  core_->refusing = true;
  many_streams_.StopAll();
}

grpc::ServerUnaryReactor* SummarizerService::Summarize(grpc::CallbackServerContext* context,
                                                       const precis::v1::SummarizeRequest* request,
                                                       precis::v1::SummarizeResponse* response) {
  return new UnaryReactor(core_, context, *request, response);
}

grpc::ServerWriteReactor<precis::v1::StreamSummarizeResponse>* SummarizerService::StreamSummarize(
    grpc::CallbackServerContext* context, const precis::v1::SummarizeRequest* request) {
  return new StreamReactor(core_, context, *request);
}

grpc::ServerBidiReactor<precis::v1::SummarizeRequest, precis::v1::SummarizeManyResponse>*
SummarizerService::SummarizeMany(grpc::CallbackServerContext* context) {
  return new ManyReactor(core_, context, &many_streams_);
}

grpc::Status SummarizerService::BeginList(grpc::CallbackServerContext* context, const char* method) {
  CallInfo info = ReadCallInfo(*context, method);
  AddCallMetadata(info, context);
  absl::Status status = core_->Authenticate(Permission::kList, &info);
  if (!status.ok()) core_->metrics->OnRefused({"none", "none", "cpu"}, "auth");
  if (status.ok()) status = core_->CheckServing();
  const WireStatus wire = ToWireStatus(status, absl::ZeroDuration());
  context->AddTrailingMetadata(kLoadReportKey, core_->load.Report(core_->engine));
  core_->log->Log(LogLevel::kDebug, "request",
                  LogFields()
                      .Add("method", info.method)
                      .Add("request_id", info.request_id)
                      .AddIfSet("trace_id", info.trace_id())
                      .Add("peer", info.peer)
                      .Add("code", GrpcCodeName(wire.status.error_code())));
  return wire.status;
}

grpc::ServerUnaryReactor* SummarizerService::ListModels(grpc::CallbackServerContext* context,
                                                        const precis::v1::ListModelsRequest* request,
                                                        precis::v1::ListModelsResponse* response) {
  const grpc::Status status = BeginList(context, "ListModels");
  if (status.ok()) FillModels(core_->engine.load()->catalog(), response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::ServerUnaryReactor* SummarizerService::ListBackends(grpc::CallbackServerContext* context,
                                                          const precis::v1::ListBackendsRequest* request,
                                                          precis::v1::ListBackendsResponse* response) {
  const grpc::Status status = BeginList(context, "ListBackends");
  if (status.ok()) FillBackends(core_->engine.load()->catalog(), response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace precis::server
