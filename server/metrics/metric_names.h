#ifndef PRECIS_SERVER_METRICS_METRIC_NAMES_H_
#define PRECIS_SERVER_METRICS_METRIC_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace precis::server {

// The only list of what /metrics shows. deploy/grafana/make_dashboard.py reads this file too: keep one line an entry's
// first line, with the name and the type on it.

enum class MetricType : uint8_t { kCounter, kGauge, kHistogram };

// Which common labels a metric carries, in front of its own.
enum class MetricScope : uint8_t {
  kRequest,  // model, attention_backend, device, experiment, arm
  kBackend,  // model, attention_backend, device
  kProcess,  // none
};

// Bucket bounds. The latency lists are supersets of the OpenTelemetry GenAI ones, so comparisons stay exact.
inline constexpr double kFirstTokenBuckets[] = {.0005, .001, .002, .005, .01, .02, .04, .06, .08, .1,
                                                .25,   .5,   .75,  1,    2.5, 5,   7.5, 10,  30};
inline constexpr double kTokenBuckets[] = {.0005, .001, .0015, .002, .003, .004, .006, .008, .01, .025, .05,
                                           .075,  .1,   .15,   .2,   .3,   .4,   .5,   .75,  1,   2.5};
inline constexpr double kRequestBuckets[] = {.0025, .005, .01,  .02,  .04,   .08,   .16,   .32,  .64,
                                             1.28,  2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84};
inline constexpr double kStepBuckets[] = {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
                                          .1,    .25,    .5,    1,    2.5,   5,    10,  30};
inline constexpr double kKernelBuckets[] = {.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005,
                                            .01,    .025,    .05,    .1,    .25,    .5,    1,    2.5,   5};
inline constexpr double kShareBuckets[] = {.1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .99, 1};
inline constexpr double kRowsBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
inline constexpr double kTokensBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
inline constexpr double kEnergyBuckets[] = {.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000};
// Powers of 4, 64 KiB to 16 GiB.
inline constexpr double kMemoryBuckets[] = {65536.,    262144.,    1048576.,    4194304.,    16777216.,
                                            67108864., 268435456., 1073741824., 4294967296., 17179869184.};

using Buckets = absl::Span<const double>;
inline constexpr Buckets kNoBuckets = {};

struct MetricInfo {
  std::string_view name;
  MetricType type;
  MetricScope scope;
  std::string_view labels;  // its own, separated by spaces
  std::string_view unit;
  Buckets buckets;
  std::string_view help;
};

// X(id, name, type, scope, own labels, unit, buckets, help)
#define PRECIS_METRICS(X)                                                                                             \
  X(RequestDuration, "gen_ai_server_request_duration_seconds", kHistogram, kRequest,                                  \
    "gen_ai_operation_name gen_ai_provider_name gen_ai_request_model error_type", "seconds", kRequestBuckets,         \
    "Time from the arrival of a call until its answer was sent; error_type is the gRPC code of a failed call.")       \
  X(TimeToFirstToken, "gen_ai_server_time_to_first_token_seconds", kHistogram, kRequest,                              \
    "gen_ai_operation_name gen_ai_provider_name gen_ai_request_model", "seconds", kFirstTokenBuckets,                 \
    "Time from acceptance of a request until its first token.")                                                       \
  X(TimePerOutputToken, "gen_ai_server_time_per_output_token_seconds", kHistogram, kRequest,                          \
    "gen_ai_operation_name gen_ai_provider_name gen_ai_request_model", "seconds", kTokenBuckets,                      \
    "Mean time per token after the first, one observation for each finished request.")                                \
  X(InterTokenLatency, "precis_inter_token_latency_seconds", kHistogram, kRequest, "", "seconds", kTokenBuckets,      \
    "Time between two consecutive tokens of a request.")                                                              \
  X(RequestQueue, "precis_request_queue_seconds", kHistogram, kRequest, "", "seconds", kStepBuckets,                  \
    "Time that a request waited until the engine first scheduled it.")                                                \
  X(RequestPrefill, "precis_request_prefill_seconds", kHistogram, kRequest, "", "seconds", kFirstTokenBuckets,        \
    "Time that a request spent in prefill.")                                                                          \
  X(RequestDecode, "precis_request_decode_seconds", kHistogram, kRequest, "", "seconds", kRequestBuckets,             \
    "Time from a request's first token until its last.")                                                              \
  X(RequestPeakMemory, "precis_request_peak_memory_bytes", kHistogram, kRequest, "", "bytes", kMemoryBuckets,         \
    "Largest KV cache plus attention workspace that a finished request held.")                                        \
  X(RequestEnergy, "precis_request_energy_joules", kHistogram, kRequest, "", "joules", kEnergyBuckets,                \
    "Estimate of a finished request's energy: its share, by tokens, of the GPU's power in its steps.")                \
  X(Requests, "precis_requests_total", kCounter, kRequest, "grpc_code finish_reason", "requests", kNoBuckets,         \
    "Calls answered, by gRPC code and by why the text ended.")                                                        \
  X(RequestsRejected, "precis_requests_rejected_total", kCounter, kRequest, "reason", "requests", kNoBuckets,         \
    "Requests refused: queue_full, queue_tokens, deadline, draining, memory, auth or quota.")                         \
  X(RequestsCancelled, "precis_requests_cancelled_total", kCounter, kRequest, "stage", "requests", kNoBuckets,        \
    "Requests cancelled by the caller or by their deadline, by the stage they were in.")                              \
  X(CancelLatency, "precis_cancel_latency_seconds", kHistogram, kRequest, "stage", "seconds", kStepBuckets,           \
    "Time from a cancellation until the request's memory was free.")                                                  \
  X(PromptTokens, "precis_prompt_tokens_total", kCounter, kRequest, "", "tokens", kNoBuckets,                         \
    "Prompt tokens of requests that ended.")                                                                          \
  X(GenerationTokens, "precis_generation_tokens_total", kCounter, kRequest, "", "tokens", kNoBuckets,                 \
    "Tokens generated.")                                                                                              \
  X(TruncatedTokens, "precis_truncated_tokens_total", kCounter, kRequest, "", "tokens", kNoBuckets,                   \
    "Document tokens left out because the document was too long.")                                                    \
  X(Preemptions, "precis_preemptions_total", kCounter, kRequest, "", "requests", kNoBuckets,                          \
    "Times that a running request gave its memory back and was queued again.")                                        \
  X(PrefixCacheQueries, "precis_prefix_cache_queries_total", kCounter, kRequest, "", "tokens", kNoBuckets,            \
    "Prompt tokens looked up in the prefix cache.")                                                                   \
  X(PrefixCacheHits, "precis_prefix_cache_hits_total", kCounter, kRequest, "", "tokens", kNoBuckets,                  \
    "Prompt tokens found in the prefix cache.")                                                                       \
  X(AttentionKernel, "precis_attention_kernel_seconds", kHistogram, kBackend, "phase", "seconds", kKernelBuckets,     \
    "Time of one step spent in a backend's attention, on sampled steps.")                                             \
  X(RequestsRunning, "precis_requests_running", kGauge, kBackend, "", "requests", kNoBuckets,                         \
    "Requests in the running batch; backend none: not attributed.")                                                   \
  X(RequestsWaiting, "precis_requests_waiting", kGauge, kBackend, "priority", "requests", kNoBuckets,                 \
    "Requests in the queue, by priority; backend none: not attributed.")                                              \
  X(MemoryBytes, "precis_memory_bytes", kGauge, kBackend, "kind", "bytes", kNoBuckets,                                \
    "Memory in use: weights, kv, attention_workspace, activations, host_pinned; backend none: shared or not attributed.")          \
  X(MemoryPeakBytes, "precis_memory_peak_bytes", kGauge, kBackend, "kind", "bytes", kNoBuckets,                       \
    "Largest memory in use since the start, by kind; a backend's attention_workspace is its own largest.")            \
  X(CacheConfigInfo, "precis_cache_config_info", kGauge, kProcess,                                                    \
    "model checkpoint device block_size num_blocks", "info", kNoBuckets,                                              \
    "KV cache of a loaded checkpoint: tokens in a block, blocks of the budget; always 1.")                            \
  X(GpuMemoryUsed, "precis_gpu_memory_used_bytes", kGauge, kProcess, "gpu_uuid", "bytes", kNoBuckets,                 \
    "Memory in use on the GPU, by all processes (NVML).")                                                             \
  X(GpuMemoryTotal, "precis_gpu_memory_total_bytes", kGauge, kProcess, "gpu_uuid", "bytes", kNoBuckets,               \
    "Memory of the GPU (NVML).")                                                                                      \
  X(GpuPower, "precis_gpu_power_watts", kGauge, kProcess, "gpu_uuid", "watts", kNoBuckets,                            \
    "Power that the GPU draws (NVML).")                                                                               \
  X(GpuEnergy, "precis_gpu_energy_joules_total", kCounter, kProcess, "gpu_uuid", "joules", kNoBuckets,                \
    "Energy that the GPU used since the server started to look (NVML).")                                              \
  X(GpuUtilization, "precis_gpu_utilization_ratio", kGauge, kProcess, "gpu_uuid", "ratio", kNoBuckets,                \
    "Share of the last moments in which a kernel ran on the GPU, 0 to 1 (NVML).")                                     \
  X(KvCacheUtilization, "precis_kv_cache_utilization_ratio", kGauge, kProcess, "", "ratio", kNoBuckets,               \
    "Share of the KV cache's blocks in use, 0 to 1.")                                                                 \
  X(BatchSize, "precis_batch_size", kHistogram, kProcess, "phase composition", "sequences", kRowsBuckets,             \
    "Sequences of a phase in one step; composition mixed: the step held more than one backend.")                      \
  X(BatchTokens, "precis_batch_tokens", kHistogram, kProcess, "phase composition", "tokens", kTokensBuckets,          \
    "Tokens of a phase in one step.")                                                                                 \
  X(StepDuration, "precis_step_duration_seconds", kHistogram, kProcess, "phase composition", "seconds", kStepBuckets, \
    "Time of one engine step; phase both: prefill and decode in one step.")                                           \
  X(ExperimentAssignments, "precis_experiment_assignments_total", kCounter, kProcess,                                 \
    "experiment arm reason", "requests", kNoBuckets,                                                                  \
    "Requests given to an experiment's arm, and why.")                                                                \
  X(ExperimentLift, "precis_experiment_lift_ratio", kGauge, kProcess, "experiment arm outcome statistic", "ratio", kNoBuckets, \
    "Lift of an arm over the control: relative, or a difference for shares and scores.")                              \
  X(ExperimentLow, "precis_experiment_lift_ci_low", kGauge, kProcess, "experiment arm outcome statistic", "ratio", kNoBuckets, \
    "Lower end of the lift's always-valid interval.")                                                                 \
  X(ExperimentHigh, "precis_experiment_lift_ci_high", kGauge, kProcess, "experiment arm outcome statistic", "ratio", kNoBuckets, \
    "Upper end of the lift's always-valid interval.")                                                                 \
  X(ExperimentPValue, "precis_experiment_p_value", kGauge, kProcess, "experiment arm outcome statistic", "ratio", kNoBuckets, \
    "Always-valid p-value, Holm-adjusted over the arm's outcomes.")                                                   \
  X(ExperimentSampleRatio, "precis_experiment_srm_p_value", kGauge, kProcess, "experiment", "ratio", kNoBuckets,      \
    "Always-valid p-value of the sample ratio; an alarm below 0.001.")                                                \
  X(ExperimentUnits, "precis_experiment_units", kGauge, kProcess, "experiment arm", "units", kNoBuckets,              \
    "Distinct units of an arm.")                                                                                      \
  X(ExperimentStopped, "precis_experiment_stopped", kGauge, kProcess, "experiment arm guardrail", "bool", kNoBuckets, \
    "1 for an arm (all: the experiment) that a guardrail or the operator stopped.")                                   \
  X(ExperimentReloads, "precis_experiments_reloads_total", kCounter, kProcess, "result", "reloads", kNoBuckets,       \
    "Readings of a changed experiments file: taken or refused.")                                                      \
  X(ExperimentOutcomes, "precis_experiment_outcomes_total", kCounter, kProcess, "experiment arm outcome", "outcomes", kNoBuckets, \
    "Outcomes that callers recorded.")                                                                                \
  X(ShadowPairs, "precis_shadow_pairs_total", kCounter, kProcess, "experiment arm result", "pairs", kNoBuckets,       \
    "Replayed pairs: identical or different answers, dropped for want of idle time, failed.")                         \
  X(ShadowAgreement, "precis_shadow_token_agreement_ratio", kHistogram, kProcess, "experiment arm", "ratio", kShareBuckets, \
    "Share of equal tokens of a replayed pair.")                                                                      \
  X(ShadowDivergence, "precis_shadow_first_divergence_tokens", kHistogram, kProcess, "experiment arm", "tokens", kRowsBuckets, \
    "First token in which a replayed pair differs.")                                                                  \
  X(Ready, "precis_ready", kGauge, kProcess, "", "bool", kNoBuckets,                                                  \
    "1 while the server accepts requests.")                                                                           \
  X(Draining, "precis_draining", kGauge, kProcess, "", "bool", kNoBuckets,                                            \
    "1 while the server finishes its last requests before it exits.")                                                 \
  X(ConfigGeneration, "precis_config_generation", kGauge, kProcess, "", "generation", kNoBuckets,                     \
    "Generation of the running configuration.")                                                                       \
  X(BuildInfo, "precis_build_info", kGauge, kProcess, "version commit compiler isa", "info", kNoBuckets,              \
    "The running build; always 1.")

#define PRECIS_METRIC_ID(id, ...) k##id,
enum class MetricId : uint8_t { PRECIS_METRICS(PRECIS_METRIC_ID) };
#undef PRECIS_METRIC_ID

#define PRECIS_METRIC_INFO(id, name, type, scope, labels, unit, buckets, help) \
  {name, MetricType::type, MetricScope::scope, labels, unit, buckets, help},
inline constexpr MetricInfo kMetrics[] = {PRECIS_METRICS(PRECIS_METRIC_INFO)};
#undef PRECIS_METRIC_INFO

inline constexpr size_t kMetricCount = sizeof(kMetrics) / sizeof(kMetrics[0]);

constexpr const MetricInfo& Info(MetricId id) { return kMetrics[static_cast<size_t>(id)]; }

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_METRIC_NAMES_H_
