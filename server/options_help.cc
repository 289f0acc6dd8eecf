#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "kernels/attention.h"
#include "server/experiments/experiment_yaml.h"
#include "server/options.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kWidth = 96;

void AppendWrapped(std::string_view text, size_t indent, std::string* out) {
  const std::string margin(indent, ' ');
  size_t column = kWidth;  // forces the first line break
  for (const absl::string_view word : absl::StrSplit(ToAbsl(text), ' ', absl::SkipEmpty())) {
    if (column + 1 + word.size() > kWidth) {
      StrAppend(out, column == kWidth ? "" : "\n", margin, word);
      column = indent + word.size();
    } else {
      StrAppend(out, " ", word);
      column += 1 + word.size();
    }
  }
  out->push_back('\n');
}

std::string DefaultText(const OptionSpec& spec) {
  const std::string text = absl::StrJoin(spec.get(ServerOptions()), ",");
  return text.empty() ? "none" : text;
}

// A value that YAML reads back as the same text.
std::string YamlScalar(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c >= 0 && c < 0x20) {  // as it is, a line break would become a space
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned>(c));
      continue;
    }
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

}  // namespace

std::string HelpText() {
  std::string out =
      "precis-server: summarises documents over gRPC; the attention backend is chosen per request\n"
      "\n"
      "usage: precis-server --model=NAME=DIR [--model=NAME=DIR ...] [options]\n"
      "\n"
      "Examples:\n"
      "  precis-server --model=news=models/news --model=news=models/news-alibi\n"
      "  precis-server --model=news=models/news --listen=127.0.0.1:0      # prints the port that it got\n"
      "  precis-server --config=precis.yaml --log-format=text --log-level=debug\n"
      "  PRECIS_MODEL=news=models/news PRECIS_LISTEN=0.0.0.0:50051 precis-server\n"
      "  precis-server --config=precis.yaml --dry-run                     # checks and prints the configuration\n"
      "\n"
      "Every option is also a key of the YAML file (kv_cache_bytes: 2GiB) and an environment variable\n"
      "(PRECIS_KV_CACHE_BYTES=2GiB). Flags win over the environment, that over the file, that over the\n"
      "default. The file may also have a section `experiments:` (see server/README.md).\n";
  StrAppend(&out, "Attention backends: ", kernels::AttentionVariantNames(), ".\n");
  StrAppend(&out,
                  "\nGeneral:\n"
                  "  --config=FILE\n      Read options from this YAML file. [PRECIS_CONFIG]\n"
                  "  --dry-run\n      Check the configuration, print it as a file, and exit.\n"
                  "  --help, -h\n      Print this and exit.\n"
                  "  --version\n      Print the version and exit.\n");
  std::string group;
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.group != group) StrAppend(&out, "\n", spec.group, ":\n");
    group = spec.group;
    StrAppend(&out, "  ", FlagName(spec), "=", spec.value, "\n");
    AppendWrapped(StrCat(spec.help, " Default: ", DefaultText(spec), ". [", EnvironmentName(spec), "]"), 6, &out);
  }
  return out;
}

std::string DumpConfiguration(const Configuration& configuration) {
  std::string out;
  for (const OptionSpec& spec : OptionTable()) {
    const auto origin = configuration.origin.find(spec.name);
    const std::string comment =
        StrCat("  # ", origin == configuration.origin.end() ? "default" : origin->second, "\n");
    const std::vector<std::string> values = spec.get(configuration.options);
    if (!spec.repeated) {
      StrAppend(&out, KeyName(spec), ": ", YamlScalar(values[0]), comment);
      continue;
    }
    StrAppend(&out, KeyName(spec), ":", values.empty() ? " []" : "", comment);
    for (const std::string& value : values) StrAppend(&out, "  - ", YamlScalar(value), "\n");
  }
  StrAppend(&out, FormatExperiments(configuration.experiments));
  return out;
}

}  // namespace precis::server
