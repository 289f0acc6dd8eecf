#include "server/experiments/experiment_yaml.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "server/text.h"

namespace precis::server {
namespace {

absl::Status ErrorAt(std::string_view file, const YAML::Node& node, std::string_view message) {
  return absl::InvalidArgumentError(StrCat(file, ":", node.Mark().line + 1, ": ", message));
}

using Setter = std::function<absl::Status(const YAML::Node&)>;
using Setters = std::map<std::string, Setter>;

// Reads the values of one file.
class YamlReader {
 public:
  explicit YamlReader(std::string_view file) : file_(file) {}

  absl::StatusOr<Experiment> ReadExperiment(const YAML::Node& node) const;

 private:
  // Calls the setter of each key of a mapping; unknown and repeated keys are errors.
  absl::Status Mapping(const YAML::Node& node, std::string_view what, const Setters& setters) const {
    if (!node.IsMap()) return ErrorAt(file_, node, StrCat(what, " must be a mapping"));
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const auto setter = setters.find(key);
      if (setter == setters.end()) {
        const auto name = [](std::string* out, const auto& s) { out->append(s.first); };
        return ErrorAt(file_, entry.first,
                       StrCat("unknown key '", key, "' in ", what, "; known are ",
                                    absl::StrJoin(setters, ", ", name)));
      }
      if (!seen.insert(key).second) {
        return ErrorAt(file_, entry.first, StrCat("key '", key, "' is given twice in ", what));
      }
      if (absl::Status s = setter->second(entry.second); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  // `parse` returns what is allowed where it doesn't take the text, else an empty string.
  Setter Scalar(std::string_view what, std::function<std::string(const std::string&)> parse) const {
    return [this, what = std::string(what), parse = std::move(parse)](const YAML::Node& node) {
      if (!node.IsScalar()) return ErrorAt(file_, node, "expected a single value");
      const std::string allowed = parse(node.Scalar());
      if (allowed.empty()) return absl::OkStatus();
      return ErrorAt(file_, node, StrCat(what, " '", node.Scalar(), "' is not ", allowed));
    };
  }

  Setter String(std::string* out) const {
    return Scalar("", [out](const std::string& text) {
      *out = text;
      return "";
    });
  }

  template <typename T>
  Setter Whole(std::string_view what, T low, T high, T* out) const {
    return Scalar(what, [=](const std::string& text) -> std::string {
      if (absl::SimpleAtoi(text, out) && *out >= low && *out <= high) return "";
      return StrCat("a whole number from ", low, " to ", high);
    });
  }

  // A number, or a percentage with its sign.
  Setter Number(std::string_view what, double low, double high, double* out) const {
    return Scalar(what, [=](const std::string& text) -> std::string {
      const bool percent = EndsWith(text, "%");
      if (absl::SimpleAtod(text.substr(0, text.size() - (percent ? 1 : 0)), out) && std::isfinite(*out)) {
        if (percent) *out /= 100;
        if (*out >= low && *out <= high) return "";
      }
      return StrCat("a number from ", low, " to ", high, " (or a percentage: 5%)");
    });
  }

  Setter Share(std::string_view what, uint32_t* ppm) const {
    return [this, what = std::string(what), ppm](const YAML::Node& node) {
      double share = 0;
      absl::Status status = Number(what, 0, 1, &share)(node);
      *ppm = static_cast<uint32_t>(std::llround(share * 1e6));
      return status;
    };
  }

  Setter Flag(std::string_view what, bool* out) const {
    return Scalar(what, [out](const std::string& text) -> std::string {
      *out = text == "true" || text == "on";
      return *out || text == "false" || text == "off" ? "" : "true or false";
    });
  }

  Setter Duration(std::string_view what, absl::Duration* out) const {
    return Scalar(what, [out](const std::string& text) -> std::string {
      if (absl::ParseDuration(text, out) && *out >= absl::ZeroDuration() && *out <= absl::Hours(24 * 366)) return "";
      return "a duration such as 30s, 10m or 1h30m";
    });
  }

  Setter Time(std::string_view what, absl::Time* out) const {
    return Scalar(what, [out](const std::string& text) -> std::string {
      std::string error;
      return absl::ParseTime(absl::RFC3339_full, text, out, &error) ? "" : "a time such as 2025-06-01T08:00:00Z";
    });
  }

  absl::Status List(const YAML::Node& node, std::string_view what, const std::function<absl::Status(const YAML::Node&)>& add) const {
    if (!node.IsSequence()) return ErrorAt(file_, node, StrCat(what, " must be a list"));
    for (const YAML::Node& item : node) {
      if (absl::Status s = add(item); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status Strings(const YAML::Node& node, std::string_view what, std::vector<std::string>* out) const {
    if (node.IsScalar()) {
      out->push_back(node.Scalar());
      return absl::OkStatus();
    }
    return List(node, what, [&](const YAML::Node& item) { return String(&out->emplace_back())(item); });
  }

  absl::Status Options(const YAML::Node& node, std::map<std::string, double>* options) const;
  absl::Status Arms(const YAML::Node& node, std::vector<Arm>* arms) const;
  absl::Status Eligible(const YAML::Node& node, Eligibility* eligible) const;
  absl::Status Layer(const YAML::Node& node, Experiment* experiment) const;
  absl::Status Ramp(const YAML::Node& node, std::vector<RampStep>* ramp) const;
  absl::Status Rails(const YAML::Node& node, Guardrails* rails) const;
  absl::Status Shadow(const YAML::Node& node, Experiment* experiment) const;
  absl::Status AnalysisOf(const YAML::Node& node, Analysis* analysis) const;

  const std::string file_;
};

absl::Status YamlReader::Options(const YAML::Node& node, std::map<std::string, double>* options) const {
  struct Range {
    const char* name;
    double low, high;
  };
  constexpr Range kRanges[] = {{"max_new_tokens", 1, 1 << 20}, {"min_new_tokens", 0, 1 << 20},  {"temperature", 0, 100}, {"top_k", 0, 1 << 20},
                               {"top_p", 1e-6, 1},             {"no_repeat_ngram_size", 0, 16}, {"repetition_penalty", 0.01, 10},
                               {"num_beams", 1, 16},           {"length_penalty", -10, 10}};
  Setters setters;
  for (const Range& range : kRanges) {
    setters[range.name] = [this, range, options](const YAML::Node& value) {
      return Number(range.name, range.low, range.high, &(*options)[range.name])(value);
    };
  }
  return Mapping(node, "options", setters);
}

absl::Status YamlReader::Arms(const YAML::Node& node, std::vector<Arm>* arms) const {
  return List(node, "arms", [&](const YAML::Node& item) {
    Arm arm;
    absl::Status s = Mapping(item, "an arm",
                             {{"name", String(&arm.name)},
                              {"weight", Whole<uint32_t>("weight", 0, kMaxWeight, &arm.weight)},
                              {"attention_backend", String(&arm.attention_backend)},
                              {"model", String(&arm.model)},
                              {"options", [&](const YAML::Node& n) { return Options(n, &arm.options); }}});
    arms->push_back(std::move(arm));
    return s;
  });
}

absl::Status YamlReader::Eligible(const YAML::Node& node, Eligibility* eligible) const {
  if (!node.IsMap()) return ErrorAt(file_, node, "eligible must map metadata keys to values");
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key.empty() || key != Lower(key) || EndsWith(key, "-bin")) {
      return ErrorAt(file_, entry.first, StrCat("'", key, "' is no metadata key that can be compared: lower case, not ending in -bin"));
    }
    if (!seen.insert(key).second) return ErrorAt(file_, entry.first, StrCat("key '", key, "' is given twice in eligible"));
    eligible->push_back({key, {}});
    if (absl::Status s = Strings(entry.second, "the values of a key", &eligible->back().second); !s.ok()) return s;
    if (eligible->back().second.empty()) return ErrorAt(file_, entry.second, StrCat("key '", key, "' has no values: nobody could take part"));
  }
  return absl::OkStatus();
}

absl::Status YamlReader::Layer(const YAML::Node& node, Experiment* experiment) const {
  const auto slots = [&](const YAML::Node& n) {
    if (!n.IsSequence() || n.size() != 2) return ErrorAt(file_, n, "slots are [FIRST, LAST]");
    absl::Status s = Whole<int>("slot", 0, kSlots - 1, &experiment->slot_low)(n[0]);
    return s.ok() ? Whole<int>("slot", 0, kSlots - 1, &experiment->slot_high)(n[1]) : s;
  };
  return Mapping(node, "layer", {{"name", String(&experiment->layer)}, {"slots", slots}});
}

absl::Status YamlReader::Ramp(const YAML::Node& node, std::vector<RampStep>* ramp) const {
  return List(node, "ramp", [&](const YAML::Node& item) {
    RampStep step;
    absl::Status s = Mapping(item, "a step of the ramp", {{"from", Time("from", &step.from)}, {"share", Share("share", &step.share_ppm)}});
    ramp->push_back(step);
    return s;
  });
}

absl::Status YamlReader::Rails(const YAML::Node& node, Guardrails* rails) const {
  return Mapping(node, "guardrails",
                 {{"error_rate_increase", Number("error_rate_increase", 0, 1, &rails->error_rate_increase)},
                  {"p99_ratio", Number("p99_ratio", 0, 1000, &rails->p99_ratio)},
                  {"p99_seconds", Number("p99_seconds", 0, 86400, &rails->p99_seconds)},
                  {"sample_ratio", Flag("sample_ratio", &rails->sample_ratio)}});
}

absl::Status YamlReader::Shadow(const YAML::Node& node, Experiment* experiment) const {
  return Mapping(node, "shadow",
                 {{"sampling", Share("sampling", &experiment->shadow_ppm)},
                  {"arms", [&](const YAML::Node& n) { return Strings(n, "arms", &experiment->shadow_arms); }}});
}

absl::Status YamlReader::AnalysisOf(const YAML::Node& node, Analysis* analysis) const {
  return Mapping(node, "analysis",
                 {{"alpha", Number("alpha", 1e-6, 0.5, &analysis->alpha)},
                  {"mde", Number("mde", 1e-4, 10, &analysis->mde)},
                  {"mde_absolute", Number("mde_absolute", 1e-5, 1, &analysis->mde_absolute)},
                  {"min_units", Whole<int64_t>("min_units", 10, 1'000'000'000, &analysis->min_units)},
                  {"planned_units", Whole<int64_t>("planned_units", 0, 1'000'000'000'000, &analysis->planned_units)},
                  {"primary", Scalar("primary", [analysis](const std::string& text) -> std::string {
                     analysis->primary = text;
                     for (const char* name : {"total_seconds", "time_to_first_token_seconds", "time_per_output_token_seconds"}) {
                       if (text == name) return "";
                     }
                     return "total_seconds, time_to_first_token_seconds or time_per_output_token_seconds";
                   })}});
}

absl::StatusOr<Experiment> YamlReader::ReadExperiment(const YAML::Node& node) const {
  Experiment e;
  bool salted = false;
  uint32_t share = 1'000'000;
  bool has_share = false;
  const auto batching = Scalar("batching", [&](const std::string& text) -> std::string {
    for (const Batching mode : {Batching::kMixed, Batching::kHomogeneous, Batching::kSwitchback}) {
      if (text != BatchingName(mode)) continue;
      e.batching = mode;
      return "";
    }
    return "mixed, homogeneous or switchback";
  });
  absl::Status s = Mapping(
      node, "an experiment",
      {{"name", String(&e.name)},
       {"salt",
        [&](const YAML::Node& n) {
          salted = true;
          return String(&e.salt)(n);
        }},
       {"model", String(&e.model)},
       {"arms", [&](const YAML::Node& n) { return Arms(n, &e.arms); }},
       {"control", String(&e.control)},
       {"aa", Flag("aa", &e.aa)},
       {"unit", String(&e.unit)},
       {"eligible", [&](const YAML::Node& n) { return Eligible(n, &e.eligible); }},
       {"layer", [&](const YAML::Node& n) { return Layer(n, &e); }},
       {"start", Time("start", &e.start)},
       {"end", Time("end", &e.end)},
       {"share",
        [&](const YAML::Node& n) {
          has_share = true;
          return Share("share", &share)(n);
        }},
       {"ramp", [&](const YAML::Node& n) { return Ramp(n, &e.ramp); }},
       {"batching", batching},
       {"slice", Duration("slice", &e.slice)},
       {"washout", Duration("washout", &e.washout)},
       {"guardrails", [&](const YAML::Node& n) { return Rails(n, &e.guardrails); }},
       {"shadow", [&](const YAML::Node& n) { return Shadow(n, &e); }},
       {"analysis", [&](const YAML::Node& n) { return AnalysisOf(n, &e.analysis); }}});
  if (!s.ok()) return s;
  if (has_share && !e.ramp.empty()) return ErrorAt(file_, node, "give share or ramp, not both");
  if (has_share) e.ramp = {{absl::InfinitePast(), share}};
  if (!salted) e.salt = e.name;
  return e;
}

}  // namespace

absl::StatusOr<ExperimentConfig> ParseExperiments(const YAML::Node& section, std::string_view file) {
  ExperimentConfig config;
  if (section.IsNull()) return config;
  if (!section.IsSequence()) return ErrorAt(file, section, "experiments must be a list");
  const YamlReader reader(file);
  for (const YAML::Node& item : section) {
    absl::StatusOr<Experiment> experiment = reader.ReadExperiment(item);
    if (!experiment.ok()) return experiment.status();
    config.experiments.push_back(*std::move(experiment));
    // Validated one by one, so that the error carries the line of the experiment at fault.
    if (absl::Status s = ValidateExperiments(config); !s.ok()) return ErrorAt(file, item, ToStd(s.message()));
  }
  return config;
}

absl::StatusOr<ExperimentConfig> ParseExperimentsText(const std::string& text, std::string_view file, bool alone) {
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(StrCat(file, ":", error.mark.line + 1, ": ", error.msg));
  }
  if (root.IsNull()) return ExperimentConfig();
  if (!root.IsMap()) return absl::InvalidArgumentError(StrCat(file, ":1: expected a section 'experiments:'"));
  YAML::Node section;
  int sections = 0;
  for (const auto& entry : root) {
    if (!entry.first.IsScalar() || entry.first.Scalar() != "experiments") {
      if (alone) return ErrorAt(file, entry.first, "unknown key; this file holds a section 'experiments:' and nothing else");
      continue;
    }
    section = entry.second;
    if (++sections > 1) return ErrorAt(file, entry.first, "experiments is given twice");
  }
  return sections == 0 ? ExperimentConfig() : ParseExperiments(section, file);
}

}  // namespace precis::server
