// The input is a server's YAML file, with its experiments. Whatever is accepted comes back equal from what --dry-run prints of it.
#include <cstdint>
#include <string>
#include <string_view>

#include "server/options.h"
#include "tests/fuzz/memory_file.h"

namespace precis::server {
namespace {

absl::StatusOr<Configuration> Load(MemoryFile& file, std::string_view text) {
  file.Write(text);
  return LoadConfiguration({"--config=" + file.path()}, {});
}

void RequireEqual(const ExperimentConfig& a, const ExperimentConfig& b) {
  Require(a.experiments.size() == b.experiments.size(), "the number of experiments changed");
  for (size_t i = 0; i < a.experiments.size(); ++i) {
    const Experiment &x = a.experiments[i], &y = b.experiments[i];
    Require(x.name == y.name && x.salt == y.salt && x.model == y.model && x.arms.size() == y.arms.size(),
            "an experiment changed");
    for (size_t j = 0; j < x.arms.size(); ++j) {
      const Arm &p = x.arms[j], &q = y.arms[j];
      Require(p.name == q.name && p.weight == q.weight && p.attention_backend == q.attention_backend && p.model == q.model,
              "an arm changed");
    }
  }
}

void CheckAccepted(MemoryFile& file, const Configuration& configuration) {
  Require(ValidateExperiments(configuration.experiments).ok(), "experiments that are not valid");
  const std::string dump = DumpConfiguration(configuration);
  const absl::StatusOr<Configuration> again = Load(file, dump);
  Require(again.ok(), again.ok() ? "" : dump + again.status().ToString());
  for (const OptionSpec& spec : OptionTable()) {
    Require(spec.get(configuration.options) == spec.get(again->options), "option " + spec.name + " changed:\n" + dump);
  }
  RequireEqual(configuration.experiments, again->experiments);
}

}  // namespace
}  // namespace precis::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace precis::server;  // NOLINT: the target is this namespace's
  static auto* const file = new precis::MemoryFile;
  const absl::StatusOr<Configuration> configuration = Load(*file, {reinterpret_cast<const char*>(data), size});
  if (configuration.ok()) {
    CheckAccepted(*file, *configuration);
  } else {
    precis::Require(absl::IsInvalidArgument(configuration.status()) && !configuration.status().message().empty(), "another code");
  }
  return 0;
}
