#include "server/experiments/report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "server/experiments/assignment.h"
#include "server/experiments/effects.h"
#include "server/experiments/stats/inference.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr int64_t kMinGuardedUnits = 30;
constexpr int kHistogramBars = 24;

void FillOptions(const Arm& arm, precis::v1::GenerationOptions* out) {
  const google::protobuf::Reflection* reflection = out->GetReflection();
  for (const auto& [name, value] : arm.options) {
    const google::protobuf::FieldDescriptor* field = out->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) continue;
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT32) {
      reflection->SetInt32(out, field, static_cast<int32_t>(value));
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_FLOAT) {
      reflection->SetFloat(out, field, static_cast<float>(value));
    }
  }
}

// Bars of equal width on a logarithmic scale from p0.5 to p99.5; the first and last hold the tails.
void FillHistogram(const stats::QuantileSketch& sketch, precis::v1::Quantiles* out) {
  const int low = stats::QuantileSketch::BinOf(sketch.Quantile(0.005)), high = stats::QuantileSketch::BinOf(sketch.Quantile(0.995));
  const int bars = std::clamp(high - low + 1, 1, kHistogramBars);
  std::vector<double> shares(static_cast<size_t>(bars), 0.0);
  for (size_t i = 0; i < sketch.counts().size(); ++i) {
    const int bin = std::clamp(sketch.first_bin() + static_cast<int>(i), low, high);
    shares[static_cast<size_t>((bin - low) * bars / (high - low + 1))] += sketch.counts()[i];
  }
  for (int bar = 0; bar < bars; ++bar) {
    out->add_bounds(stats::QuantileSketch::UpperBound(low + ((bar + 1) * (high - low + 1) - 1) / bars));
    out->add_shares(shares[static_cast<size_t>(bar)] / static_cast<double>(sketch.count()));
  }
}

void FillOutcomes(const ArmResults& arm, precis::v1::ArmReport* out) {
  for (int i = 0; i < kOutcomes; ++i) {
    const auto id = static_cast<OutcomeId>(i);
    const stats::Estimate mean = stats::RatioMean(arm.moments[i]);
    if (mean.count == 0) continue;
    precis::v1::Quantiles* outcome = out->add_outcomes();
    outcome->set_outcome(std::string(Info(id).name));
    outcome->set_count(static_cast<int64_t>(mean.count));
    outcome->set_mean(mean.value);
    if (!Info(id).quantiles) continue;
    const stats::QuantileSketch sketch = arm.quantiles[i].Total();
    outcome->set_p50(sketch.Quantile(0.5));
    outcome->set_p90(sketch.Quantile(0.9));
    outcome->set_p99(sketch.Quantile(0.99));
    outcome->set_relative_error(stats::QuantileSketch::kRelativeError);
    FillHistogram(sketch, outcome);
  }
  const stats::Estimate errors = stats::RatioMean(arm.moments[static_cast<int>(OutcomeId::kError)]);
  out->set_requests(static_cast<int64_t>(errors.count));
  out->set_errors(std::llround(errors.value * errors.count));
}

void FillShadow(const ShadowResults& shadow, precis::v1::ShadowReport* out) {
  out->set_pairs(shadow.pairs);
  out->set_dropped(shadow.dropped);
  if (shadow.pairs == 0) return;
  const auto n = static_cast<double>(shadow.pairs);
  out->set_identical(shadow.identical);
  const stats::Interval identical = stats::Wilson(shadow.identical, shadow.pairs, 0.05);
  out->set_identical_low(identical.low);
  out->set_identical_high(identical.high);
  out->set_token_agreement(shadow.token_agreement / n);
  out->set_rouge_l(shadow.rouge_l / n);
  if (shadow.diverged > 0) out->set_first_divergence_tokens(shadow.first_divergence / static_cast<double>(shadow.diverged));
  out->set_latency_ratio(std::exp(shadow.total.Median()));
  out->set_latency_p_value(shadow.total.Wilcoxon().p_value);
  out->set_first_token_ratio(std::exp(shadow.first_token.Median()));
}

double TotalWeight(const Experiment& experiment) {
  double total = 0;
  for (const Arm& arm : experiment.arms) total += arm.weight;
  return total;
}

}  // namespace

void FillExperiment(const Experiment& experiment, uint64_t generation, absl::Time now, precis::v1::Experiment* out) {
  out->set_name(experiment.name);
  out->set_salt(experiment.salt);
  out->set_model(experiment.model);
  out->set_layer(experiment.layer);
  out->set_control(experiment.control_arm().name);
  out->set_aa(experiment.aa);
  out->set_batching(std::string(BatchingName(experiment.batching)));
  out->set_share(ShareAt(experiment, now) / 1e6);
  if (experiment.start != absl::InfinitePast()) out->set_start_unix_seconds(absl::ToUnixSeconds(experiment.start));
  if (experiment.end != absl::InfiniteFuture()) out->set_end_unix_seconds(absl::ToUnixSeconds(experiment.end));
  out->set_shadow_sampling(experiment.shadow_ppm / 1e6);
  out->set_config_generation(generation);
  out->set_fingerprint(experiment.Fingerprint());
  for (const Arm& arm : experiment.arms) {
    precis::v1::ExperimentArm* to = out->add_arms();
    to->set_name(arm.name);
    to->set_weight(arm.weight);
    to->set_attention_backend(arm.attention_backend);
    to->set_model(arm.model);
    to->set_state(precis::v1::ARM_STATE_RUNNING);
    if (!arm.options.empty()) FillOptions(arm, to->mutable_options());
  }
}

precis::v1::Report MakeReport(const Experiment& experiment, const ExperimentResults& results) {
  precis::v1::Report report;
  report.set_primary_outcome(experiment.analysis.primary);
  report.set_alpha(experiment.analysis.alpha);
  report.set_mde(experiment.analysis.mde);
  report.set_since_unix_seconds(results.since_unix_seconds);
  precis::v1::SampleRatio* ratio = report.mutable_sample_ratio();
  ratio->set_p_value(results.census.p_value());
  ratio->set_alarm(results.census.p_value() < kSampleRatioAlpha);
  for (size_t i = 0; i < experiment.arms.size(); ++i) {
    const Arm& arm = experiment.arms[i];
    precis::v1::ArmReport* out = report.add_arms();
    out->set_name(arm.name);
    out->set_attention_backend(arm.attention_backend);
    out->set_model(arm.model);
    out->set_weight(arm.weight);
    out->set_state(precis::v1::ARM_STATE_RUNNING);
    out->set_units(results.census.Units(static_cast<int>(i)));
    ratio->add_observed(results.census.sampled()[i]);
    ratio->add_expected(arm.weight / TotalWeight(experiment));
    FillOutcomes(results.arms[i], out);
    if (&arm == &experiment.control_arm()) continue;
    FillShadow(results.arms[i].shadow, out->mutable_shadow());
    const std::vector<precis::v1::Effect> effects = CompareWithControl(experiment, results, static_cast<int>(i));
    out->mutable_effects()->Add(effects.begin(), effects.end());
    out->set_verdict(Verdict(experiment, arm.name, effects));
  }
  return report;
}

std::vector<Breach> FindBreaches(const Experiment& experiment, const ExperimentResults& results) {
  std::vector<Breach> out;
  const Guardrails& rails = experiment.guardrails;
  const double p_ratio = results.census.p_value();
  if (rails.sample_ratio && p_ratio < kSampleRatioAlpha) {
    out.push_back({"", "sample_ratio", absl::StrFormat("the arms' units do not have the ratio of the weights (p = %.2g)", p_ratio)});
  }
  const int tests = (rails.error_rate_increase > 0) + (rails.p99_ratio > 0) + (rails.p99_seconds > 0);
  const int control_index = experiment.ArmIndex(experiment.control_arm().name);
  const double level = experiment.analysis.alpha / std::max(1, tests * static_cast<int>(experiment.arms.size() - 1));
  const ArmResults& control = results.arms[static_cast<size_t>(control_index)];
  const auto latency = static_cast<size_t>(OutcomeId::kTotalSeconds), error = static_cast<size_t>(OutcomeId::kError);
  for (int i = 0; i < static_cast<int>(experiment.arms.size()); ++i) {
    if (i == control_index || std::min(results.census.Units(i), results.census.Units(control_index)) < kMinGuardedUnits) continue;
    const ArmResults& arm = results.arms[static_cast<size_t>(i)];
    const std::string& name = experiment.arms[static_cast<size_t>(i)].name;
    if (rails.error_rate_increase > 0) {
      const stats::Difference difference = stats::Subtract(ShareEstimate(arm.moments[error]), ShareEstimate(control.moments[error]));
      const double low = stats::AlwaysValid(difference, experiment.analysis.mde_absolute, level).low;
      if (low > rails.error_rate_increase) {
        out.push_back({name, "error_rate", absl::StrFormat("errors exceed the control's by at least %.1f points (allowed: %.1f)", 100 * low, 100 * rails.error_rate_increase)});
      }
    }
    const double tau = std::log1p(experiment.analysis.mde);
    if (rails.p99_ratio > 0) {
      const double low = std::exp(stats::AlwaysValid(stats::LogQuantileRatio(arm.quantiles[latency], control.quantiles[latency], 0.99), tau, level).low);
      if (low > rails.p99_ratio) {
        out.push_back({name, "p99_ratio", absl::StrFormat("p99 of total_seconds is at least %.2f times the control's (allowed: %.2f)", low, rails.p99_ratio)});
      }
    }
    if (rails.p99_seconds > 0) {
      const stats::Estimate p99 = stats::LogQuantile(arm.quantiles[latency], 0.99);
      const double low = std::exp(stats::AlwaysValid({p99.value, p99.se, std::max(1.0, p99.degrees)}, tau, level).low);
      if (low > rails.p99_seconds) {
        out.push_back({name, "p99_seconds", absl::StrFormat("p99 of total_seconds is at least %.2f s (allowed: %.2f)", low, rails.p99_seconds)});
      }
    }
  }
  return out;
}

}  // namespace precis::server
