#include "server/experiments/effects.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/experiments/stats/inference.h"
#include "server/text.h"

namespace precis::server {
namespace {

using precis::v1::Effect;
using stats::Difference;
using stats::Estimate;
using stats::Interval;

constexpr double kPower = 0.8;

// Two arms of an experiment and what is asked of them.
class Comparison {
 public:
  Comparison(const Experiment& experiment, const ExperimentResults& results, int index)
      : experiment_(experiment),
        control_index_(experiment.ArmIndex(experiment.control_arm().name)),
        control_(results.arms[static_cast<size_t>(control_index_)]),
        arm_(results.arms[static_cast<size_t>(index)]),
        units_(std::min(results.census.Units(index), results.census.Units(control_index_))) {}

  std::vector<Effect> All() const {
    std::vector<Effect> out;
    for (int i = 0; i < kOutcomes; ++i) {
      const auto id = static_cast<OutcomeId>(i);
      if (arm_.moments[i].count() == 0 || control_.moments[i].count() == 0) continue;
      if (Info(id).quantiles) {
        out.push_back(Quantile(id, 0.5, "p50"));
        out.push_back(Quantile(id, 0.99, "p99"));
      }
      out.push_back(Mean(id));
      if (id == Primary() && planned()) out.push_back(Rank(id));
    }
    AdjustPValues(&out);
    return out;
  }

 private:
  OutcomeId Primary() const { return static_cast<OutcomeId>(FindOutcome(experiment_.analysis.primary)); }
  bool planned() const { return experiment_.analysis.planned_units > 0 && units_ >= experiment_.analysis.planned_units; }

  Effect Start(OutcomeId id, const char* statistic) const {
    Effect out;
    out.set_outcome(std::string(Info(id).name));
    out.set_statistic(statistic);
    out.set_relative(Info(id).relative);
    out.set_lower_is_better(Info(id).better < 0);
    out.set_observations(static_cast<int64_t>(arm_.moments[static_cast<int>(id)].count() + control_.moments[static_cast<int>(id)].count()));
    return out;
  }

  Effect Mean(OutcomeId id) const {
    const auto i = static_cast<size_t>(id);
    Effect out = Start(id, "mean");
    Estimate arm = Info(id).share ? ShareEstimate(arm_.moments[i]) : RatioMean(arm_.moments[i]);
    Estimate control = Info(id).share ? ShareEstimate(control_.moments[i]) : RatioMean(control_.moments[i]);
    out.set_treatment(arm.value);
    out.set_control(control.value);
    if (Info(id).quantiles) {
      const stats::AdjustedPair pair = stats::Adjust(control_.moments[i], arm_.moments[i]);
      // A covariate that explains more than all would turn a mean negative.
      if (pair.control.value > 0 && pair.treatment.value > 0) {
        arm = pair.treatment;
        control = pair.control;
      }
    }
    if (Info(id).relative && arm.value > 0 && control.value > 0) {
      Fill(stats::LogRatio(arm, control), true, &out);
    } else {
      out.set_relative(false);
      Fill(stats::Subtract(arm, control), false, &out);
    }
    return out;
  }

  Effect Quantile(OutcomeId id, double p, const char* name) const {
    const auto i = static_cast<size_t>(id);
    Effect out = Start(id, name);
    out.set_treatment(arm_.quantiles[i].Total().Quantile(p));
    out.set_control(control_.quantiles[i].Total().Quantile(p));
    Fill(stats::LogQuantileRatio(arm_.quantiles[i], control_.quantiles[i], p), true, &out);
    return out;
  }

  // Only at the planned end: P(arm > control) - 1/2.
  Effect Rank(OutcomeId id) const {
    const auto i = static_cast<size_t>(id);
    Effect out = Start(id, "mann_whitney");
    out.set_relative(false);
    const Difference difference = stats::MannWhitneyClustered(arm_.quantiles[i], control_.quantiles[i]);
    out.set_lift(difference.value);
    out.set_p_value(1);
    out.set_not_yet("for one look, at the planned end");
    SetFixed(stats::FixedHorizon(difference, experiment_.analysis.alpha), false, &out);
    return out;
  }

  void SetFixed(const Interval& interval, bool logarithmic, Effect* out) const {
    out->set_has_fixed(true);
    out->set_fixed_low(logarithmic ? std::expm1(interval.low) : interval.low);
    out->set_fixed_high(logarithmic ? std::expm1(interval.high) : interval.high);
    out->set_fixed_p_value(interval.p_value);
  }

  void Fill(const Difference& difference, bool logarithmic, Effect* out) const {
    const Analysis& analysis = experiment_.analysis;
    const double tau = logarithmic ? std::log1p(analysis.mde) : analysis.mde_absolute;
    out->set_p_value(1);
    if (std::isfinite(difference.value)) out->set_lift(logarithmic ? std::expm1(difference.value) : difference.value);
    if (units_ < analysis.min_units) {
      out->set_not_yet(StrCat(units_, " of ", analysis.min_units, " units in the smaller arm"));
      return;
    }
    if (!(difference.se > 0) || !std::isfinite(difference.value)) {
      out->set_not_yet("too few observations");
      return;
    }
    const Interval always = stats::AlwaysValid(difference, tau, analysis.alpha);
    out->set_low(logarithmic ? std::expm1(always.low) : always.low);
    out->set_high(logarithmic ? std::expm1(always.high) : always.high);
    if (Info(static_cast<OutcomeId>(FindOutcome(out->outcome()))).share) {  // a difference of shares
      out->set_low(std::max(-1.0, out->low()));
      out->set_high(std::min(1.0, out->high()));
    }
    out->set_p_value(always.p_value);
    const double unit_variance = difference.se * difference.se * static_cast<double>(units_) / 2;
    const stats::SampleSize needed = stats::UnitsNeeded(unit_variance, tau, tau, analysis.alpha, kPower);
    out->set_units_needed_fixed(needed.fixed);
    out->set_units_needed_always_valid(needed.always_valid);
    if (planned()) SetFixed(stats::FixedHorizon(difference, analysis.alpha), logarithmic, out);
  }

  static void AdjustPValues(std::vector<Effect>* effects) {
    std::vector<double> p_values;
    for (const Effect& effect : *effects) {
      if (effect.not_yet().empty()) p_values.push_back(effect.p_value());
    }
    const std::vector<double> adjusted = stats::Holm(p_values);
    size_t next = 0;
    for (Effect& effect : *effects) effect.set_adjusted_p_value(effect.not_yet().empty() ? adjusted[next++] : 1);
  }

  const Experiment& experiment_;
  const int control_index_;
  const ArmResults& control_;
  const ArmResults& arm_;
  const int64_t units_;
};

bool IsDecided(const Effect& effect) { return effect.not_yet().empty() && (effect.low() > 0 || effect.high() < 0); }

std::string Percent(double x) { return absl::StrFormat("%.*f", std::abs(x) < 0.1 ? 1 : 0, 100 * std::abs(x)); }

// "31% faster at p50, 95% always-valid interval 27..35%"
std::string PrimaryText(const Experiment& experiment, const Effect& effect) {
  const std::string level = absl::StrFormat("%g%% always-valid interval", 100 * (1 - experiment.analysis.alpha));
  if (!IsDecided(effect)) {
    return absl::StrFormat("no difference shown at %s of %s (%+.1f%%, %s %+.1f..%+.1f%%)", effect.statistic(), effect.outcome(), 100 * effect.lift(),
                           level, 100 * effect.low(), 100 * effect.high());
  }
  const bool faster = effect.high() < 0;
  const double nearer = std::min(std::abs(effect.low()), std::abs(effect.high())), farther = std::max(std::abs(effect.low()), std::abs(effect.high()));
  return StrCat(Percent(effect.lift()), "% ", faster ? "faster" : "slower", " at ", effect.statistic(), " of ", effect.outcome(), ", ", level, " ",
                Percent(nearer), "..", Percent(farther), "%");
}

std::string OtherText(const Effect& effect) {
  const double scale = effect.relative() || effect.outcome() != "score" ? 100 : 1;
  const char* unit = effect.relative() ? "%" : scale == 100 ? " points" : "";
  if (!IsDecided(effect)) {
    const double bound = std::max(std::abs(effect.low()), std::abs(effect.high()));
    return absl::StrFormat("%s: no difference beyond %.1f%s", effect.outcome(), scale * bound, unit);
  }
  return absl::StrFormat("%s %+.1f%s (%+.1f..%+.1f)", effect.outcome(), scale * effect.lift(), unit, scale * effect.low(), scale * effect.high());
}

}  // namespace

stats::Estimate ShareEstimate(const stats::GroupedMoments& moments) {
  Estimate estimate = stats::RatioMean(moments);
  if (estimate.count == 0) return estimate;
  const double p = (estimate.value * estimate.count + 1) / (estimate.count + 2);
  estimate.se = std::max(estimate.se, std::sqrt(p * (1 - p) / (estimate.count + 2)));
  estimate.degrees = std::max(estimate.degrees, 1.0);
  return estimate;
}

std::vector<Effect> CompareWithControl(const Experiment& experiment, const ExperimentResults& results, int index) {
  return Comparison(experiment, results, index).All();
}

std::string Verdict(const Experiment& experiment, const std::string& arm, const std::vector<Effect>& effects) {
  std::string out;
  std::vector<std::string> others;
  int64_t n = 0;
  for (const Effect& effect : effects) {
    n = std::max(n, effect.observations());
    if (effect.outcome() == experiment.analysis.primary && effect.statistic() == "p50") {
      if (!effect.not_yet().empty()) return StrCat(arm, ": nothing to say yet: ", effect.not_yet());
      const bool decided = IsDecided(effect);
      out = StrCat(arm, decided ? " is " : ": ", PrimaryText(experiment, effect));
    } else if (effect.statistic() == "mean" && effect.not_yet().empty() &&
               (effect.outcome() == "error" || effect.outcome() == "peak_memory_bytes" || Info(static_cast<OutcomeId>(FindOutcome(effect.outcome()))).from_caller)) {
      others.push_back(OtherText(effect));
    }
  }
  if (out.empty()) return StrCat(arm, ": nothing observed yet");
  for (const std::string& other : others) StrAppend(&out, "; ", other);
  StrAppend(&out, "; n = ", n);
  return out;
}

}  // namespace precis::server
