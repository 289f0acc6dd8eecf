#include "client/cli/experiments_report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/cli/table.h"

namespace precis::cli {
namespace {

std::string TimeText(int64_t unix_seconds) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixSeconds(unix_seconds), absl::UTCTimeZone());
}

std::string Value(const std::string& outcome, double value) {
  if (outcome == "peak_memory_bytes") return FormatBytes(value);
  if (outcome.size() > 8 && outcome.compare(outcome.size() - 8, 8, "_seconds") == 0) return absl::StrFormat("%.4gs", value);
  return absl::StrFormat("%.4g", value);
}

// A ratio in percent, a difference as it is.
std::string Lift(const v1::Effect& effect, double lift) {
  return effect.relative() ? absl::StrFormat("%+.1f%%", 100 * lift) : absl::StrFormat("%+.4f", lift);
}

std::string Effects(const v1::ArmReport& arm, const std::string& control) {
  Table table({"OUTCOME", "STATISTIC", absl::StrCat("CONTROL (", control, ")"), arm.name(), "LIFT", "ALWAYS-VALID INTERVAL", "P (HOLM)",
               "FIXED HORIZON", "UNITS NEEDED"});
  for (const v1::Effect& e : arm.effects()) {
    const bool known = e.not_yet().empty();
    table.Add({e.outcome(), e.statistic(), Value(e.outcome(), e.control()), Value(e.outcome(), e.treatment()), Lift(e, e.lift()),
               known ? absl::StrCat(Lift(e, e.low()), " .. ", Lift(e, e.high())) : e.not_yet(), known ? absl::StrFormat("%.3g", e.adjusted_p_value()) : "-",
               e.has_fixed() ? absl::StrCat(Lift(e, e.fixed_low()), " .. ", Lift(e, e.fixed_high())) : "-",
               known ? absl::StrCat(e.units_needed_fixed(), " / ", e.units_needed_always_valid()) : "-"});
  }
  return table.ToString();
}

std::string Shadow(const v1::ArmReport& arm) {
  const v1::ShadowReport& s = arm.shadow();
  if (s.pairs() == 0) return absl::StrFormat("shadow: no pairs yet, %d dropped\n", s.dropped());
  return absl::StrFormat(
      "shadow: %d pairs (%d dropped); identical %.1f%% (%.1f..%.1f%%); tokens that agree %.1f%%; ROUGE-L %.3f; first difference at token %.1f; "
      "time x%.3f (p = %.2g), first token x%.3f; interval and p are for one look\n",
      s.pairs(), s.dropped(), 100.0 * static_cast<double>(s.identical()) / static_cast<double>(s.pairs()), 100 * s.identical_low(),
      100 * s.identical_high(), 100 * s.token_agreement(), s.rouge_l(), s.first_divergence_tokens(), s.latency_ratio(), s.latency_p_value(),
      s.first_token_ratio());
}

std::string Arms(const v1::Report& report) {
  Table table({"ARM", "BACKEND", "WEIGHT", "STATE", "UNITS", "REQUESTS", "ERRORS", "P50", "P99"});
  for (const v1::ArmReport& arm : report.arms()) {
    std::string p50 = "-", p99 = "-";
    for (const v1::Quantiles& q : arm.outcomes()) {
      if (q.outcome() != report.primary_outcome()) continue;
      p50 = Value(q.outcome(), q.p50());
      p99 = Value(q.outcome(), q.p99());
    }
    table.Add({arm.name(), arm.attention_backend(), absl::StrCat(arm.weight()), arm.state() == v1::ARM_STATE_STOPPED ? "stopped" : "running",
               absl::StrCat(arm.units()), absl::StrCat(arm.requests()), absl::StrCat(arm.errors()), p50, p99});
  }
  return table.ToString();
}

}  // namespace

std::string ReportText(const v1::Report& report) {
  const v1::Experiment& e = report.experiment();
  std::string out = absl::StrFormat("%s: %.4g%% of the units, batching %s, generation %d%s\n", e.name(), 100 * e.share(), e.batching(),
                                    e.config_generation(), e.aa() ? ", A/A" : "");
  if (report.since_unix_seconds() > 0) absl::StrAppend(&out, "since ", TimeText(report.since_unix_seconds()), "\n");
  if (report.peers_size() > 0) absl::StrAppend(&out, "with ", absl::StrJoin(report.peers(), ", "), "\n");
  for (const std::string& missing : report.missing_peers()) absl::StrAppend(&out, "WITHOUT ", missing, "\n");
  out += "\n";
  for (const v1::ArmReport& arm : report.arms()) {
    if (!arm.verdict().empty()) absl::StrAppend(&out, arm.verdict(), "\n");
  }
  absl::StrAppend(&out, "\n", Arms(report));
  for (const v1::ArmReport& arm : report.arms()) {
    if (arm.effects_size() > 0) absl::StrAppend(&out, "\n", Effects(arm, e.control()));
    if (arm.has_shadow() && (arm.shadow().pairs() > 0 || e.shadow_sampling() > 0)) absl::StrAppend(&out, Shadow(arm));
  }
  const auto has_fixed = [](const v1::ArmReport& arm) {
    return std::any_of(arm.effects().begin(), arm.effects().end(), [](const v1::Effect& e) { return e.has_fixed(); });
  };
  if (std::any_of(report.arms().begin(), report.arms().end(), has_fixed)) {
    out += "\nThe fixed-horizon intervals hold for one look, the first at the planned number of units. Whoever looks again takes the always-valid ones.\n";
  }
  const v1::SampleRatio& ratio = report.sample_ratio();
  absl::StrAppend(&out, absl::StrFormat("\nsample ratio: %s (p = %.3g)\n", ratio.alarm() ? "WRONG: don't trust the comparison" : "as configured", ratio.p_value()));
  for (const v1::Decision& d : report.decisions()) {
    absl::StrAppend(&out, "stopped ", d.arm().empty() ? "the experiment" : d.arm(), " at ", TimeText(d.unix_seconds()), " by ", d.guardrail(), ": ", d.detail(), "\n");
  }
  return out;
}

}  // namespace precis::cli
