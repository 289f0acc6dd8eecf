#include "client/eval/run/machine.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"

namespace precis::eval {

cli::Json MachineFacts() {
  cli::Json facts = {{"cores", std::thread::hardware_concurrency()}};
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    facts["processor"] = line.substr(line.find(':') + 2);
    break;
  }
  struct sysinfo memory = {};
  if (sysinfo(&memory) == 0) facts["memory_bytes"] = static_cast<int64_t>(memory.totalram) * memory.mem_unit;
  struct utsname system = {};
  if (uname(&system) == 0) facts["system"] = absl::StrCat(system.sysname, " ", system.release, " ", system.machine);
  return facts;
}

cli::Json Server::ToJson() const {
  return {{"build", backends.server_build()}, {"device", backends.device()}, {"models", cli::MessageToJson(models)["models"]}};
}

std::vector<std::string> Server::Served() const {
  std::vector<std::string> names;
  for (const v1::AttentionBackend& backend : backends.backends()) {
    if (backend.models_size() > 0) names.push_back(backend.name());
  }
  return names;
}

absl::StatusOr<Server> AskServer(client::SummarizerClient* client) {
  auto models = client->ListModels();
  if (!models.ok()) return models.status();
  auto backends = client->ListBackends();
  if (!backends.ok()) return backends.status();
  return Server{*std::move(models), *std::move(backends)};
}

}  // namespace precis::eval
