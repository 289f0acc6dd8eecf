#include <yaml-cpp/yaml.h>

#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/experiments/experiment_yaml.h"
#include "server/option_value.h"
#include "server/options.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr std::string_view kTryHelp = " (--help lists all)";

const OptionSpec* Find(std::string_view name) {
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

std::vector<std::string> AllNames(std::string (*name)(const OptionSpec&)) {
  std::vector<std::string> names;
  for (const OptionSpec& spec : OptionTable()) names.push_back(name(spec));
  return names;
}

// Sets options from one source after the other, weakest first.
class Applier {
 public:
  explicit Applier(Configuration* configuration) : configuration_(*configuration) {}

  // `where` is what the person wrote: "--threads", "PRECIS_THREADS", "precis.yaml:3: threads".
  absl::Status Set(const OptionSpec& spec, std::string_view text, std::string_view source, std::string_view where) {
    const auto origin = configuration_.origin.find(spec.name);
    const bool first = origin == configuration_.origin.end() || origin->second != source;
    if (first && spec.clear) spec.clear(configuration_.options);
    configuration_.origin[spec.name] = std::string(source);
    const absl::Status status = spec.set(configuration_.options, text);
    if (status.ok()) return status;
    return absl::InvalidArgumentError(StrCat(where, "=", text, ": ", status.message()));
  }

 private:
  Configuration& configuration_;
};

struct Flag {
  const OptionSpec* spec;
  std::string value;
};

// The flags in order; --help, --version, --dry-run and --config are taken out.
absl::StatusOr<std::vector<Flag>> ReadFlags(absl::Span<const std::string> arguments, Configuration* configuration) {
  std::vector<Flag> flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-h" || argument == "--help") {
      configuration->action = Configuration::Action::kHelp;
      continue;
    }
    if (!StartsWith(argument, "--") || argument == "--") {
      return absl::InvalidArgumentError(
          StrCat("unexpected argument '", argument, "'; options are written --name=value", kTryHelp));
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (name == "version" || name == "dry-run") {
      configuration->action =
          name == "version" ? Configuration::Action::kVersion : Configuration::Action::kDryRun;
      continue;
    }
    const OptionSpec* spec = Find(name);
    if (spec == nullptr && name != "config") {
      std::vector<std::string> known = AllNames(FlagName);
      known.insert(known.end(), {"--config", "--help", "--version", "--dry-run"});
      return absl::InvalidArgumentError(
          StrCat("unknown flag '--", name, "'", Suggestion("--" + name, known), kTryHelp));
    }
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (spec != nullptr && spec->is_switch) {
      value = "on";
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return absl::InvalidArgumentError(StrCat("flag '--", name, "' needs a value: --", name, "=",
                                                     spec == nullptr ? "FILE" : spec->value));
    }
    if (spec == nullptr) {
      configuration->file = value;
    } else {
      flags.push_back({spec, std::move(value)});
    }
  }
  return flags;
}

// Kubernetes sets these in every pod beside a Service called "precis"; the client reads the others.
bool IsForeign(std::string_view name) {
  return Contains(name, "_SERVICE_HOST") || Contains(name, "_SERVICE_PORT") ||
         Contains(name, "_PORT_") || name == "PRECIS_PORT" || EndsWith(name, "_SERVER_PORT") ||
         name == "PRECIS_SERVER" || name == "PRECIS_TOKEN" || StartsWith(name, "PRECIS_CLIENT_") ||
         StartsWith(name, "PRECIS_TEST_");
}

absl::Status ApplyEnvironment(const std::map<std::string, std::string>& environment, Applier* applier) {
  std::map<std::string, const OptionSpec*> known;
  for (const OptionSpec& spec : OptionTable()) known[EnvironmentName(spec)] = &spec;
  for (const auto& [name, value] : environment) {
    if (!StartsWith(name, "PRECIS_") || name == "PRECIS_CONFIG") continue;
    const auto entry = known.find(name);
    if (entry == known.end()) {
      if (IsForeign(name)) continue;
      return absl::InvalidArgumentError(StrCat("unknown environment variable '", name, "'",
                                                     Suggestion(name, AllNames(EnvironmentName)), kTryHelp));
    }
    std::vector<std::string> values = {value};
    if (entry->second->repeated) values = absl::StrSplit(value, ',', absl::SkipEmpty());
    for (const std::string& item : values) {
      if (absl::Status s = applier->Set(*entry->second, item, "environment", name); !s.ok()) return s;
    }
  }
  return absl::OkStatus();
}

absl::Status ApplyKey(const std::string& where, const OptionSpec& spec, const YAML::Node& value, Applier* applier) {
  std::vector<YAML::Node> items;
  if (value.IsScalar()) {
    items.push_back(value);
  } else if (value.IsSequence() && spec.repeated) {
    for (const YAML::Node& item : value) items.push_back(item);
  } else if (value.IsNull()) {
    return absl::InvalidArgumentError(StrCat(where, " has no value"));
  } else {
    return absl::InvalidArgumentError(
        StrCat(where, spec.repeated ? " takes a value or a list of values" : " takes a single value"));
  }
  for (const YAML::Node& item : items) {
    if (!item.IsScalar()) return absl::InvalidArgumentError(StrCat(where, " takes a list of values"));
    if (absl::Status s = applier->Set(spec, item.Scalar(), "file", where); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status ApplyTree(const YAML::Node& root, Configuration* configuration, Applier* applier) {
  const std::string& file = configuration->file;
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) return absl::InvalidArgumentError(StrCat(file, ":1: expected lines of 'key: value'"));
  std::set<std::string> seen;
  for (const auto& entry : root) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const std::string where = StrCat(file, ":", entry.first.Mark().line + 1, ": ", key);
    if (!seen.insert(key).second) return absl::InvalidArgumentError(StrCat(where, " is given twice"));
    if (key == "experiments") {
      absl::StatusOr<ExperimentConfig> experiments = ParseExperiments(entry.second, file);
      if (!experiments.ok()) return experiments.status();
      configuration->experiments = *std::move(experiments);
      continue;
    }
    const OptionSpec* spec = nullptr;
    for (const OptionSpec& candidate : OptionTable()) {
      if (KeyName(candidate) == key) spec = &candidate;
    }
    if (spec == nullptr) {
      std::vector<std::string> known = AllNames(KeyName);
      known.push_back("experiments");
      return absl::InvalidArgumentError(StrCat(file, ":", entry.first.Mark().line + 1, ": unknown key '", key,
                                                     "'", Suggestion(key, known), kTryHelp));
    }
    if (absl::Status s = ApplyKey(where, *spec, entry.second, applier); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status ApplyFile(Configuration* configuration, Applier* applier) {
  std::ifstream stream(configuration->file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (!stream) {
    return absl::InvalidArgumentError(StrCat("--config=", configuration->file, " can't be read"));
  }
  try {  // yaml-cpp's only way to say that the text is no YAML
    return ApplyTree(YAML::Load(text), configuration, applier);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(StrCat(configuration->file, ":", e.mark.line + 1, ": ", e.msg));
  }
}

}  // namespace

absl::StatusOr<Configuration> LoadConfiguration(absl::Span<const std::string> arguments,
                                                const std::map<std::string, std::string>& environment) {
  Configuration configuration;
  absl::StatusOr<std::vector<Flag>> flags = ReadFlags(arguments, &configuration);
  if (!flags.ok()) return flags.status();
  if (configuration.action == Configuration::Action::kHelp ||
      configuration.action == Configuration::Action::kVersion) {
    return configuration;
  }
  if (const auto file = environment.find("PRECIS_CONFIG"); configuration.file.empty() && file != environment.end()) {
    configuration.file = file->second;
  }
  Applier applier(&configuration);
  if (!configuration.file.empty()) {
    if (absl::Status s = ApplyFile(&configuration, &applier); !s.ok()) return s;
  }
  if (absl::Status s = ApplyEnvironment(environment, &applier); !s.ok()) return s;
  for (const Flag& flag : *flags) {
    if (absl::Status s = applier.Set(*flag.spec, flag.value, "flag", FlagName(*flag.spec)); !s.ok()) return s;
  }
  return configuration;
}

}  // namespace precis::server
