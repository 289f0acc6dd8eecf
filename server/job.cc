#include "server/job.h"

#include <algorithm>
#include <utility>

#include "server/conversion.h"
#include "server/text.h"

namespace precis::server {
namespace {

// Above this many bytes the tokeniser runs on a thread of ours.
constexpr size_t kInlineTokeniseBytes = 64 << 10;

// How much earlier than ours a client's clock may call its deadline past: its timeout travels rounded up (by at most 1%, gRPC's
// timeout encoding) and counts from its arrival here. The bound is less than a step of a large model.
absl::Duration DeadlineSkew(const CallInfo& info) {
  return std::min(absl::Milliseconds(100), absl::Milliseconds(10) + (info.deadline - info.start) / 100);
}

absl::Duration QueueEstimate(const runtime::Engine* engine) {
  return engine == nullptr ? absl::ZeroDuration() : engine->load().queue_estimate;
}

void AddNumber(grpc::CallbackServerContext* context, const char* key, double value) {
  context->AddTrailingMetadata(key, StrCat(value));
}

}  // namespace

Job::Job(ServerCore* core, CallInfo info) : core_(core), info_(std::move(info)) {
  assignment_.set_reason(precis::v1::ASSIGNMENT_REASON_NONE);
}

bool Job::Prepare(const precis::v1::SummarizeRequest& request, const absl::Status& admission) {
  request_ = &request;
  absl::Status status = admission;
  if (status.ok()) status = core_->CheckServing();
  if (status.ok()) {
    engine_ = core_->engine.load();
    status = ValidateRequest(request, core_->limits.max_document_bytes);
  }
  if (status.ok()) {
    runtime_request_ = ToRuntimeRequest(request);
    runtime_request_.deadline = info_.deadline;
    status = Assign();
  }
  if (status.ok()) return true;
  if (absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) core_->metrics->OnRefused(labels(), "auth");
  if (absl::IsUnavailable(status) && core_->refusing) {
    core_->metrics->OnRejected(labels(), runtime::RejectReason::kDraining);
  }
  Complete(status);
  return false;
}

absl::Status Job::Assign() {
  experiments_ = core_->experiments->snapshot();
  std::string unit = request_->unit_id();
  if (unit.empty()) unit = info_.unit_id;
  if (unit.empty()) unit = request_->client_request_id();
  if (unit.empty()) unit = info_.request_id;  // its own unit
  const runtime::Catalog& catalog = engine_->catalog();
  absl::StatusOr<runtime::Catalog::Choice> choice = catalog.Resolve(request_->model(), request_->attention_backend());
  if (!choice.ok()) return choice.status();
  if (absl::Status s = CheckModel(choice->model->name); !s.ok()) return s;
  const AssignmentFacts facts = {unit, info_.request_id, choice->model->name, request_->attention_backend(), info_.start,
                                 [this](const std::string& key) {
                                   const auto entry = info_.metadata.find(key);
                                   return entry == info_.metadata.end() ? std::string() : entry->second;
                                 }};
  assigned_ = AssignArm(*experiments_, facts);
  AssignmentResult& chosen = assigned_;
  if (chosen.arm != nullptr) {
    const std::string why = core_->experiments->tracker()->WhyStopped(*chosen.experiment, chosen.arm->name);
    if (!why.empty()) {
      chosen.reason = AssignmentReason::kStopped;
      assignment_.set_detail(why);
    }
  }
  const bool served_by_arm = chosen.reason == AssignmentReason::kAssigned || chosen.reason == AssignmentReason::kWashout;
  if (served_by_arm) {
    absl::StatusOr<runtime::Catalog::Choice> by_arm = ResolveArm(catalog, *chosen.experiment, *chosen.arm);
    if (by_arm.ok() && CheckModel(by_arm->model->name).ok()) {
      choice = *by_arm;
      ApplyArmOptions(*chosen.arm);
    } else {
      chosen.reason = AssignmentReason::kFallback;
    }
  }
  model_ = choice->model->name;
  backend_ = std::string(choice->variant->name);
  device_ = std::string(choice->checkpoint->runner->device());
  runtime_request_.model = model_;
  runtime_request_.attention_backend = backend_;

  assignment_.set_reason(ToProto(chosen.reason));
  assignment_.set_config_generation(experiments_->generation);
  if (chosen.experiment != nullptr) assignment_.set_experiment(chosen.experiment->name);
  if (chosen.arm != nullptr) assignment_.set_arm(chosen.arm->name);
  // Only assigned requests count for their arm; the others would blur its percentiles.
  if (chosen.reason == AssignmentReason::kAssigned) arm_labels_ = {chosen.experiment->name, chosen.arm->name};
  runtime_request_.labels = arm_labels_;
  if (chosen.reason == AssignmentReason::kAssigned) runtime_request_.batch_group = BatchGroup(*chosen.experiment, *chosen.arm);
  if (chosen.experiment != nullptr) {
    core_->metrics->OnAssignment(chosen.experiment->name, chosen.arm == nullptr ? "none" : chosen.arm->name,
                                 AssignmentReasonName(chosen.reason));
  }
  return absl::OkStatus();
}

// What the arm sets and the request does not.
void Job::ApplyArmOptions(const Arm& arm) {
  const precis::v1::GenerationOptions& given = request_->options();
  runtime::GenerationOptions& options = runtime_request_.options;
  for (const auto& [name, value] : arm.options) {
    if (name == "max_new_tokens" && !given.has_max_new_tokens()) options.max_new_tokens = static_cast<int>(value);
    if (name == "min_new_tokens" && !given.has_min_new_tokens()) options.min_new_tokens = static_cast<int>(value);
    if (name == "temperature" && !given.has_temperature()) options.temperature = static_cast<float>(value);
    if (name == "top_k" && !given.has_top_k()) options.top_k = static_cast<int>(value);
    if (name == "top_p" && !given.has_top_p()) options.top_p = static_cast<float>(value);
    if (name == "no_repeat_ngram_size" && !given.has_no_repeat_ngram_size()) options.no_repeat_ngram_size = static_cast<int>(value);
    if (name == "repetition_penalty" && !given.has_repetition_penalty()) options.repetition_penalty = static_cast<float>(value);
    if (name == "num_beams" && !given.has_num_beams()) options.num_beams = static_cast<int>(value);
    if (name == "length_penalty" && !given.has_length_penalty()) options.length_penalty = static_cast<float>(value);
  }
}

absl::Status Job::CheckModel(const std::string& model) const {
  return info_.grant == nullptr ? absl::OkStatus() : info_.grant->CheckModel(model);
}

absl::StatusOr<runtime::Catalog::Choice> Job::ResolveArm(const runtime::Catalog& catalog, const Experiment& experiment,
                                                         const Arm& arm) const {
  const std::string& requested = request_->model();
  if (!arm.model.empty() && !requested.empty() && arm.model != requested) {
    return absl::NotFoundError("the request names another model than the arm");
  }
  std::string model = arm.model;
  if (model.empty()) model = experiment.model;
  if (model.empty()) model = requested;
  return catalog.Resolve(model, arm.attention_backend);
}

void Job::Start(std::function<void(const std::string&)> on_text, std::function<void()> on_done) {
  on_done_ = std::move(on_done);
  counted_as_user_ = true;
  core_->shadow.OnUserBegins();
  if (assigned_.reason == AssignmentReason::kAssigned && assigned_.experiment->shadow_ppm > 0) shadow_request_ = runtime_request_;
  if (runtime_request_.document.size() <= kInlineTokeniseBytes) {
    Submit(std::move(on_text));
  } else if (core_->edge.pending() >= core_->limits.max_tokenising) {
    FinishOnDelivery(absl::ResourceExhaustedError(
        StrCat(core_->limits.max_tokenising, " large documents wait to be tokenised already, which is the limit "
                                                   "(--max-queued-requests); try again later")));
  } else {
    core_->edge.Post([self = shared_from_this(), on_text = std::move(on_text)]() mutable {
      self->Submit(std::move(on_text));
    });
  }
}

void Job::Submit(std::function<void(const std::string&)> on_text) {
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return FinishOnDelivery(absl::CancelledError("the client cancelled the call"));
  }
  runtime::RequestCallbacks callbacks;
  callbacks.on_text = std::move(on_text);
  callbacks.on_done = [self = shared_from_this()](absl::StatusOr<runtime::Result> result) {
    self->FinishOnDelivery(std::move(result));
  };
  const absl::StatusOr<runtime::RequestId> id = engine_->Submit(std::move(runtime_request_), std::move(callbacks));
  if (!id.ok()) return FinishOnDelivery(id.status());
  bool cancelled = false;
  {
    absl::MutexLock lock(&mutex_);
    id_ = *id;
    cancelled = cancelled_;
  }
  if (cancelled) engine_->Cancel(*id);
}

void Job::Cancel() {
  // gRPC cancels calls whose deadline has passed; the engine ends those itself, with DEADLINE_EXCEEDED, at our deadline.
  if (absl::Now() >= info_.deadline - DeadlineSkew(info_)) return;
  std::optional<runtime::RequestId> id;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    id = id_;
  }
  if (id.has_value()) engine_->Cancel(*id);
}

void Job::FinishOnDelivery(absl::StatusOr<runtime::Result> result) {
  core_->delivery.Post([self = shared_from_this(), result = std::move(result)] {
    self->Complete(result);
    if (self->counted_as_user_) self->core_->shadow.OnUserEnds();
    const std::function<void()> on_done = std::move(self->on_done_);  // it may own the job
    on_done();
  });
}

void Job::Complete(const absl::StatusOr<runtime::Result>& result) {
  wire_ = ToWireStatus(result.status(), QueueEstimate(engine_));
  if (result.ok()) {
    FillResponse(*result, *request_, &response_);
    *response_.mutable_assignment() = assignment_;
    response_.set_request_id(info_.request_id);
  }
  CountForArm(result);
  core_->load.OnFinished(result.ok());
  Count(result.ok() ? runtime::FinishReasonName(result->finish_reason) : std::string_view());
  Log(result);
}

namespace {

// Ours, not the caller's.
bool IsServersFault(grpc::StatusCode code) {
  return code == grpc::StatusCode::INTERNAL || code == grpc::StatusCode::UNAVAILABLE || code == grpc::StatusCode::RESOURCE_EXHAUSTED ||
         code == grpc::StatusCode::DEADLINE_EXCEEDED;
}

Observation Observe(const runtime::Accounting& a) {
  Observation out;
  out.prompt_tokens = a.prompt_tokens;
  out.values = {{OutcomeId::kError, 0},
                {OutcomeId::kTotalSeconds, absl::ToDoubleSeconds(a.total)},
                {OutcomeId::kTimeToFirstToken, absl::ToDoubleSeconds(a.time_to_first_token)},
                {OutcomeId::kQueueSeconds, absl::ToDoubleSeconds(a.queue)},
                {OutcomeId::kPeakMemoryBytes, static_cast<double>(a.kv_cache_peak_bytes + a.attention_workspace_peak_bytes)},
                {OutcomeId::kNewTokens, a.new_tokens}};
  if (a.energy_joules.has_value()) out.values.emplace_back(OutcomeId::kEnergyJoules, *a.energy_joules);
  if (a.new_tokens > 1) out.values.emplace_back(OutcomeId::kTimePerOutputToken, absl::ToDoubleSeconds(a.decode) / (a.new_tokens - 1));
  return out;
}

}  // namespace

void Job::CountForArm(const absl::StatusOr<runtime::Result>& result) {
  if (assigned_.reason != AssignmentReason::kAssigned || assigned_.arm == nullptr) return;
  Observation observation;
  if (result.ok()) {
    observation = Observe(result->accounting);
  } else if (IsServersFault(wire_.status.error_code())) {
    observation.values = {{OutcomeId::kError, 1}};
  } else {
    return;  // cancelled, or wrong: says nothing about the arm
  }
  if (result.ok()) core_->shadow.Offer(experiments_, *assigned_.experiment, shadow_request_, model_);
  core_->experiments->tracker()->OnRequest(*assigned_.experiment, assigned_.arm->name, assigned_.unit, info_.request_id, std::move(observation));
}

void Job::Count(std::string_view finish_reason) {
  core_->metrics->OnRpcFinished(labels(), GrpcCodeName(wire_.status.error_code()), finish_reason,
                                absl::Now() - info_.start);
}

runtime::RequestLabels Job::labels() const {
  return {model_, backend_, device_, arm_labels_.experiment, arm_labels_.arm};
}

void Job::AddInitialMetadata(grpc::CallbackServerContext* context) const {
  context->AddInitialMetadata("precis-model", MetadataText(model_));
  context->AddInitialMetadata("precis-attention-backend", backend_);
  context->AddInitialMetadata("precis-assignment-reason",
                              Lower(precis::v1::AssignmentReason_Name(assignment_.reason())).substr(18));
  context->AddInitialMetadata("precis-config-generation", StrCat(assignment_.config_generation()));
  if (!assignment_.experiment().empty()) context->AddInitialMetadata("precis-experiment", assignment_.experiment());
  if (!assignment_.arm().empty()) context->AddInitialMetadata("precis-arm", assignment_.arm());
  if (!assignment_.detail().empty()) context->AddInitialMetadata("precis-assignment-detail", MetadataText(assignment_.detail()));
}

void Job::AddTrailingMetadata(grpc::CallbackServerContext* context) const {
  if (const std::string pushback = RetryPushback(wire_); !pushback.empty()) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", pushback);
  }
  if (!response_.has_accounting()) return;
  const precis::v1::Accounting& a = response_.accounting();
  AddNumber(context, "precis-prompt-tokens", a.prompt_tokens());
  AddNumber(context, "precis-cached-tokens", a.cached_tokens());
  AddNumber(context, "precis-truncated-tokens", a.truncated_tokens());
  AddNumber(context, "precis-new-tokens", a.new_tokens());
  AddNumber(context, "precis-queue-seconds", a.queue_seconds());
  AddNumber(context, "precis-prefill-seconds", a.prefill_seconds());
  AddNumber(context, "precis-decode-seconds", a.decode_seconds());
  AddNumber(context, "precis-time-to-first-token-seconds", a.time_to_first_token_seconds());
  AddNumber(context, "precis-total-seconds", a.total_seconds());
  AddNumber(context, "precis-kv-block-seconds", a.kv_block_seconds());
  context->AddTrailingMetadata("precis-kv-cache-peak-bytes", StrCat(a.kv_cache_peak_bytes()));
  context->AddTrailingMetadata("precis-attention-workspace-peak-bytes",
                               StrCat(a.attention_workspace_peak_bytes()));
  context->AddTrailingMetadata("precis-weights-bytes", StrCat(a.weights_bytes()));
  AddNumber(context, "precis-preemptions", a.preemptions());
  if (a.has_energy_joules()) AddNumber(context, "precis-energy-joules", a.energy_joules());
}

void Job::Log(const absl::StatusOr<runtime::Result>& result) {
  const bool bug = !wire_.error_id.empty();
  const LogLevel level = bug ? LogLevel::kError : LogLevel::kInfo;
  if (!core_->log->Enabled(level)) return;
  LogFields fields;
  fields.Add("method", info_.method)
      .Add("request_id", info_.request_id)
      .AddIfSet("client_request_id", request_->client_request_id())
      .AddIfSet("trace_id", info_.trace_id())
      .Add("peer", info_.peer)
      .AddIfSet("token", info_.grant == nullptr ? std::string_view() : std::string_view(info_.grant->name))
      .Add("model", model_)
      .Add("attention_backend", backend_)
      .Add("assignment", Lower(precis::v1::AssignmentReason_Name(assignment_.reason())).substr(18))
      .AddIfSet("experiment", assignment_.experiment())
      .AddIfSet("arm", assignment_.arm())
      .AddIfSet("assignment_detail", assignment_.detail())
      .Add("code", GrpcCodeName(wire_.status.error_code()))
      .Add("total_ms", absl::Now() - info_.start);
  if (result.ok()) {
    const runtime::Accounting& a = result->accounting;
    fields.Add("checkpoint", result->checkpoint)
        .Add("finish_reason", runtime::FinishReasonName(result->finish_reason))
        .Add("prompt_tokens", a.prompt_tokens)
        .Add("cached_tokens", a.cached_tokens)
        .Add("truncated_tokens", a.truncated_tokens)
        .Add("new_tokens", a.new_tokens)
        .Add("queue_ms", a.queue)
        .Add("prefill_ms", a.prefill)
        .Add("decode_ms", a.decode)
        .Add("time_to_first_token_ms", a.time_to_first_token)
        .Add("kv_cache_peak_bytes", a.kv_cache_peak_bytes)
        .Add("attention_workspace_peak_bytes", a.attention_workspace_peak_bytes)
        .Add("preemptions", a.preemptions);
    if (a.energy_joules.has_value()) fields.Add("energy_joules", *a.energy_joules);
  } else {
    fields.AddIfSet("error_id", wire_.error_id).Add("error", bug ? wire_.detail : wire_.status.error_message());
  }
  if (core_->limits.log_documents) {
    fields.Add("document", request_->document()).AddIfSet("summary", response_.summary());
  }
  core_->log->Log(level, "request", fields);
}

}  // namespace precis::server
