#include "server/health.h"

#include "server/text.h"


namespace precis::server {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

bool IsKnown(const std::string& service) { return service.empty() || service == "precis.v1.Summarizer"; }

}  // namespace

// One watch. Its status lags behind while a write is pending; the last one always arrives.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService* service, bool known) : service_(service), known_(known) {
    absl::MutexLock lock(&service_->mutex_);
    service_->watchers_.insert(this);
    Update();
  }

  // With the service's mutex held.
  void Update() {
    if (writing_ || finished_) return;
    const HealthCheckResponse::ServingStatus status =
        !known_ ? HealthCheckResponse::SERVICE_UNKNOWN
                : (Serving() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
    if (!sent_ || status != response_.status()) {
      sent_ = writing_ = true;
      response_.set_status(status);
      StartWrite(&response_);
    } else if (ShutDown()) {
      End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is stopping"));
    }
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&service_->mutex_);
    writing_ = false;
    if (ok) {
      Update();
    } else {
      End(grpc::Status::CANCELLED);
    }
  }

  void OnCancel() override {
    absl::MutexLock lock(&service_->mutex_);
    End(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    {
      absl::MutexLock lock(&service_->mutex_);
      service_->watchers_.erase(this);
    }
    delete this;
  }

 private:
  bool Serving() ABSL_NO_THREAD_SAFETY_ANALYSIS { return service_->serving_; }
  bool ShutDown() ABSL_NO_THREAD_SAFETY_ANALYSIS { return service_->shut_down_; }

  void End(const grpc::Status& status) {
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }

  HealthService* const service_;
  const bool known_;
  HealthCheckResponse response_;
  bool sent_ = false, writing_ = false, finished_ = false;
};

void HealthService::SetServing(bool serving) {
  absl::MutexLock lock(&mutex_);
  serving_ = serving && !shut_down_;
  for (Watcher* watcher : watchers_) watcher->Update();
}

bool HealthService::serving() const {
  absl::MutexLock lock(&mutex_);
  return serving_;
}

void HealthService::Shutdown() {
  absl::MutexLock lock(&mutex_);
  serving_ = false;
  shut_down_ = true;
  for (Watcher* watcher : watchers_) watcher->Update();
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!IsKnown(request->service())) {
    reactor->Finish(grpc::Status(
        grpc::StatusCode::NOT_FOUND,
        StrCat("unknown service '", request->service(), "'; known are '' and 'precis.v1.Summarizer'")));
    return reactor;
  }
  response->set_status(serving() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext* context,
                                                                    const HealthCheckRequest* request) {
  return new Watcher(this, IsKnown(request->service()));
}

}  // namespace precis::server
