#include "server/process.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "server/build_info.h"
#include "server/experiment_service.h"
#include "server/gpu_monitor.h"
#include "server/grpc_server.h"
#include "server/health.h"
#include "server/reflection.h"
#include "server/server_core.h"
#include "server/service.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr absl::Duration kLastAnswers = absl::Seconds(5);  // for answers that are made but not yet sent

ServerCore::Limits ToLimits(const ServerOptions& options) {
  ServerCore::Limits limits;
  limits.max_document_bytes = options.max_document_bytes;
  limits.many_in_flight = static_cast<int>(options.many_in_flight);
  limits.max_tokenising = options.engine.max_queued_requests;
  limits.log_documents = options.log_documents;
  return limits;
}

// One token through every backend of a model, so that the first user pays for no first use.
absl::Status WarmUp(runtime::Engine* engine) {
  for (const auto& model : engine->catalog().models()) {
    for (const auto& checkpoint : model->checkpoints) {
      for (const kernels::AttentionVariant* variant : checkpoint->variants) {
        runtime::Request request;
        request.document = "Warm-up.";
        request.model = model->name;
        request.attention_backend = std::string(variant->name);
        request.options.max_new_tokens = 2;
        absl::Status status;
        absl::Notification done;
        const auto id = engine->Submit(std::move(request), {nullptr, [&](absl::StatusOr<runtime::Result> result) {
                                                              status = result.status();
                                                              done.Notify();
                                                            }});
        if (!id.ok()) {
          status = id.status();
        } else {
          done.WaitForNotification();
        }
        if (!status.ok()) {
          return absl::Status(status.code(), StrCat("warm-up of model '", model->name, "' with backend '",
                                                          variant->name, "' failed: ", status.message()));
        }
      }
    }
  }
  return absl::OkStatus();
}

class ServerImpl : public Server {
 public:
  ServerImpl(const Configuration& configuration, Metrics* metrics, Logger* log,
             std::unique_ptr<Authenticator> authenticator, std::unique_ptr<ExperimentManager> experiments)
      : configuration_(configuration),
        metrics_(metrics),
        log_(log),
        authenticator_(std::move(authenticator)),
        experiments_(std::move(experiments)),
        core_(metrics, log, experiments_.get(), authenticator_.get(), ToLimits(configuration.options)),
        service_(&core_),
        experiment_service_(&core_),
        reflection_(MakeReflectionServices(&core_)) {}

  ~ServerImpl() override {
    if (!drained_) Stop(absl::Now());
  }

  absl::Status Listen() {
    std::vector<grpc::Service*> services = {&service_, &experiment_service_, &health_};
    if (configuration_.options.reflection) {
      for (const auto& service : reflection_) services.push_back(service.get());
    }
    absl::StatusOr<GrpcServer> started = StartGrpcServer(configuration_.options, services, log_);
    if (!started.ok()) return started.status();
    grpc_ = *std::move(started);
    metrics_->SetReady(false);
    metrics_->SetDraining(false);
    const std::string& address = configuration_.options.metrics_listen;
    if (address == "off") return absl::OkStatus();
    HttpServer::Callbacks callbacks;
    callbacks.ready = [this] { return ready(); };
    callbacks.status_json = [this] { return StatusJson(); };
    callbacks.experiments_json = [this] { return ExperimentsJson(); };
    absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(address, metrics_, std::move(callbacks));
    if (!http.ok()) return http.status();
    http_ = *std::move(http);
    metrics_address_ = StrCat("http://", address.substr(0, address.rfind(':')), ":", http_->port(), "/");
    return absl::OkStatus();
  }

  absl::Status Load(const EngineFactory& factory) override {
    const absl::Time start = absl::Now();
    absl::StatusOr<std::unique_ptr<runtime::Engine>> engine = factory();
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    WatchGpu();
    ReportModels();  // metrics of the warm-up need the device's name
    if (absl::Status s = WarmUp(engine_.get()); !s.ok()) return s;
    experiments_->SetCatalog(&engine_->catalog());
    core_.shadow.Start(engine_.get());
    core_.engine = engine_.get();
    if (core_.refusing) return absl::OkStatus();
    metrics_->SetReady(true);
    health_.SetServing(true);
    log_->Log(LogLevel::kInfo, "ready", LogFields().Add("load_ms", absl::Now() - start));
    return absl::OkStatus();
  }

  void Drain() override {
    const ServerOptions& options = configuration_.options;
    drained_ = true;
    log_->Log(LogLevel::kInfo, "draining",
              LogFields().Add("delay_ms", options.drain_delay).Add("timeout_ms", options.drain_timeout));
    health_.SetServing(false);
    metrics_->SetReady(false);
    metrics_->SetDraining(true);
    absl::SleepFor(options.drain_delay);
    service_.RefuseNew();
    const absl::Time end = absl::Now() + options.drain_timeout;
    core_.shadow.Stop();
    if (engine_ != nullptr) engine_->Drain(options.drain_timeout);
    Stop(std::max(end, absl::Now() + kLastAnswers));
    log_->Log(LogLevel::kInfo, "stopped", LogFields().Add("log_lines_lost", log_->dropped()));
  }

  void ReloadExperiments() override {
    if (const auto changed = experiments_->Reload(); absl::IsFailedPrecondition(changed.status())) return;  // there is no file
  }
  bool ready() const override { return health_.serving(); }
  std::string address() const override { return grpc_.address; }
  std::string metrics_address() const override { return metrics_address_; }

 private:
  void Stop(absl::Time deadline) {
    service_.RefuseNew();
    health_.Shutdown();
    if (grpc_.server != nullptr) {
      grpc_.server->Shutdown(absl::ToChronoTime(deadline));
      grpc_.server->Wait();
    }
    http_.reset();
    core_.shadow.Stop();
    core_.engine = nullptr;
    experiments_->SetCatalog(nullptr);
    gpu_monitor_.reset();
    engine_.reset();
  }

  // One GPU serves all models of a process.
  void WatchGpu() {
    const std::string uuid(engine_->catalog().all_checkpoints()[0]->runner->gpu_uuid());
    if (uuid.empty()) return;
    absl::StatusOr<std::unique_ptr<kernels::Nvml>> nvml = kernels::Nvml::Open(uuid);
    if (!nvml.ok()) {
      log_->Log(LogLevel::kWarning, "no metrics of the GPU's memory, power and energy", LogFields().Add("reason", std::string(nvml.status().message())));
      return;
    }
    gpu_monitor_ = std::make_unique<GpuMonitor>(*std::move(nvml), [this, uuid](const kernels::NvmlSample& sample, double watts) {
      metrics_->OnGpu(uuid, sample);
      if (watts >= 0) engine_->SetPower(watts);
    });
  }

  void ReportModels() {
    const runtime::Engine::Load load = engine_->load();
    const std::string& why_cpu = engine_->catalog().why_cpu();
    if (!why_cpu.empty()) log_->Log(LogLevel::kInfo, "no GPU is used", LogFields().Add("reason", why_cpu));
    for (const auto& model : engine_->catalog().models()) {
      for (const auto& checkpoint : model->checkpoints) {
        const runtime::ModelRunner& runner = *checkpoint->runner;
        metrics_->OnModelLoaded(model->name, checkpoint->name, runner.device(), runner.weights_bytes(),
                                kernels::kPageTokens, load.kv_blocks_total);
        log_->Log(LogLevel::kInfo, "model loaded",
                  LogFields()
                      .Add("model", model->name)
                      .Add("checkpoint", checkpoint->name)
                      .Add("device", runner.device())
                      .Add("weights", kernels::DTypeName(runner.weights_dtype()))
                      .Add("weights_bytes", runner.weights_bytes())
                      .Add("parameters", runner.parameters()));
      }
    }
  }

  std::string StatusJson() const;
  std::string ExperimentsJson() const;

  const Configuration configuration_;
  Metrics* const metrics_;
  Logger* const log_;
  const std::unique_ptr<Authenticator> authenticator_;
  const std::unique_ptr<ExperimentManager> experiments_;
  HealthService health_;
  // Destroyed last to first: the executors of core_ end after the gRPC server has.
  std::unique_ptr<runtime::Engine> engine_;
  std::unique_ptr<GpuMonitor> gpu_monitor_;  // uses engine_
  ServerCore core_;
  SummarizerService service_;
  ExperimentService experiment_service_;
  const std::vector<std::unique_ptr<grpc::Service>> reflection_;
  GrpcServer grpc_;
  std::unique_ptr<HttpServer> http_;
  std::string metrics_address_;
  const absl::Time started_ = absl::Now();
  bool drained_ = false;
};

std::string ServerImpl::ExperimentsJson() const {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string out = "[";
  for (const Experiment& experiment : experiments_->snapshot()->experiments) {
    const absl::StatusOr<precis::v1::Report> report = experiment_service_.Report(experiment.name, /*local_only=*/false);
    std::string json;
    if (!report.ok() || !google::protobuf::util::MessageToJsonString(*report, &json, options).ok()) continue;
    StrAppend(&out, out.size() > 1 ? "," : "", json);
  }
  return out + "]";
}

std::string ServerImpl::StatusJson() const {
  nlohmann::json out;
  out["version"] = Version();
  out["commit"] = Commit();
  out["started_unix_seconds"] = absl::ToUnixSeconds(started_);
  out["uptime_seconds"] = absl::ToDoubleSeconds(absl::Now() - started_);
  out["ready"] = ready();
  out["draining"] = core_.refusing.load();
  out["log_lines_lost"] = log_->dropped();
  out["models"] = nlohmann::json::array();
  if (const runtime::Engine* engine = core_.engine.load(); engine != nullptr) {
    for (const auto& model : engine->catalog().models()) {
      for (const auto& checkpoint : model->checkpoints) {
        nlohmann::json backends = nlohmann::json::array();
        for (const kernels::AttentionVariant* variant : checkpoint->variants) backends.push_back(variant->name);
        out["models"].push_back({{"name", model->name},
                                 {"checkpoint", checkpoint->name},
                                 {"device", checkpoint->runner->device()},
                                 {"weights", kernels::DTypeName(checkpoint->runner->weights_dtype())},
                                 {"weights_bytes", checkpoint->runner->weights_bytes()},
                                 {"parameters", checkpoint->runner->parameters()},
                                 {"context_tokens", checkpoint->runner->context_tokens()},
                                 {"attention_backends", backends}});
      }
    }
  }
  const std::shared_ptr<const ExperimentConfig> experiments = experiments_->snapshot();
  out["config_generation"] = experiments->generation;
  out["experiments"] = nlohmann::json::array();
  for (const Experiment& experiment : experiments->experiments) {
    nlohmann::json arms = nlohmann::json::array();
    for (const Arm& arm : experiment.arms) {
      arms.push_back({{"name", arm.name}, {"weight", arm.weight}, {"attention_backend", arm.attention_backend}});
    }
    out["experiments"].push_back({{"name", experiment.name}, {"model", experiment.model}, {"arms", arms}});
  }
  out["options"] = nlohmann::json::object();
  for (const OptionSpec& spec : OptionTable()) {
    const std::vector<std::string> values = spec.get(configuration_.options);
    if (spec.repeated) {
      out["options"][spec.name] = values;
    } else {
      out["options"][spec.name] = values[0];
    }
  }
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Configuration& configuration, Metrics* metrics,
                                                      Logger* log) {
  std::unique_ptr<Authenticator> authenticator;
  const ServerOptions& options = configuration.options;
  if (!options.auth_tokens_file.empty()) {
    absl::StatusOr<std::unique_ptr<Authenticator>> created =
        Authenticator::Create(options.auth_tokens_file, options.auth_reload, log);
    if (!created.ok()) return created.status();
    authenticator = *std::move(created);
    if (options.tls_cert.empty()) {
      log->Log(LogLevel::kWarning, "bearer tokens are used without TLS: whoever can read the network can read them");
    }
  }
  absl::StatusOr<std::unique_ptr<ExperimentManager>> experiments = ExperimentManager::Create(configuration, metrics, log);
  if (!experiments.ok()) return experiments.status();
  auto server = std::make_unique<ServerImpl>(configuration, metrics, log, std::move(authenticator), *std::move(experiments));
  if (absl::Status s = server->Listen(); !s.ok()) return s;
  return server;
}

absl::StatusOr<std::unique_ptr<runtime::Engine>> CreateEngine(const ServerOptions& options,
                                                              runtime::Telemetry* telemetry) {
  runtime::EngineOptions engine = options.engine;
  if (engine.threads == 0) engine.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  runtime::LoadOptions load;
  load.threads = engine.threads;
  load.device = options.device;
  load.alibi_context_tokens = static_cast<int>(options.alibi_context_tokens);
  load.weights_auto = options.weights == "auto";
  if (!load.weights_auto) {
    absl::StatusOr<kernels::DType> weights = kernels::ParseDType(options.weights);
    if (!weights.ok()) return weights.status();
    load.weights = *weights;
  }
  if (options.kv_cache_dtype != "auto") {
    absl::StatusOr<kernels::DType> dtype = kernels::ParseDType(options.kv_cache_dtype);
    if (!dtype.ok()) return dtype.status();
    load.kv_cache = *dtype;
  }
  load.isa = kernels::BestCpuIsa();
  if (options.cpu_isa != "auto") {
    absl::StatusOr<kernels::CpuIsa> isa = kernels::ParseCpuIsa(options.cpu_isa);
    if (!isa.ok()) return isa.status();
    load.isa = *isa;
  }
  absl::StatusOr<std::unique_ptr<runtime::Catalog>> catalog = runtime::Catalog::Load(options.models, load);
  if (!catalog.ok()) return catalog.status();
  return runtime::Engine::Create(*std::move(catalog), engine, telemetry);
}

}  // namespace precis::server
