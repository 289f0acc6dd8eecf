#ifndef PRECIS_SERVER_SERVICE_H_
#define PRECIS_SERVER_SERVICE_H_

#include "precis/v1/summarizer.grpc.pb.h"
#include "server/many_reactor.h"
#include "server/server_core.h"

namespace precis::server {

// precis.v1.Summarizer over gRPC's callback API: a call costs its memory, no thread. Thread-safe.
class SummarizerService final : public precis::v1::Summarizer::CallbackService {
 public:
  // `core` outlives the service.
  explicit SummarizerService(ServerCore* core) : core_(core) {}

  // From now on new requests are refused with UNAVAILABLE; SummarizeMany streams end as soon as they have answered what they took.
  void RefuseNew();

  grpc::ServerUnaryReactor* Summarize(grpc::CallbackServerContext* context, const precis::v1::SummarizeRequest* request,
                                      precis::v1::SummarizeResponse* response) override;
  grpc::ServerWriteReactor<precis::v1::StreamSummarizeResponse>* StreamSummarize(
      grpc::CallbackServerContext* context, const precis::v1::SummarizeRequest* request) override;
  grpc::ServerBidiReactor<precis::v1::SummarizeRequest, precis::v1::SummarizeManyResponse>* SummarizeMany(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const precis::v1::ListModelsRequest* request,
                                       precis::v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* ListBackends(grpc::CallbackServerContext* context,
                                         const precis::v1::ListBackendsRequest* request,
                                         precis::v1::ListBackendsResponse* response) override;

 private:
  // The status of a call that asks what there is; adds its metadata.
  grpc::Status BeginList(grpc::CallbackServerContext* context, const char* method);

  ServerCore* const core_;
  ManyStreams many_streams_;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_SERVICE_H_
