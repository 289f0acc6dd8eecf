#include "client/cli/list_commands.h"

#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/exit_code.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "client/summarizer_client.h"

namespace precis::cli {
namespace {

// Connects and calls `run(client)`, which returns the exit code.
template <typename Run>
int WithClient(const ConnectionFlags& flags, Run run) {
  auto options = flags.ToOptions();
  if (!options.ok()) {
    ReportError(options.status());
    return absl::IsNotFound(options.status()) ? kExitInput : kExitUsage;
  }
  auto client = client::SummarizerClient::Create(*options);
  if (!client.ok()) {
    ReportError(client.status());
    return absl::IsNotFound(client.status()) ? kExitInput : kExitUsage;
  }
  return run(client->get());
}

void PrintModels(const v1::ListModelsResponse& response) {
  Table table({"MODEL", "CHECKPOINT", "POSITIONS", "BACKENDS", "CONTEXT", "PARAMETERS", "WEIGHTS", "DTYPE", "SHAPE"});
  for (const v1::Model& model : response.models()) {
    for (const v1::Checkpoint& c : model.checkpoints()) {
      std::vector<std::string> backends(c.attention_backends().begin(), c.attention_backends().end());
      for (std::string& name : backends) {
        if (name == model.default_attention_backend()) name += "*";
      }
      table.Add({model.name(), c.name(), c.positions(), absl::StrJoin(backends, ","),
                 absl::StrCat(c.context_tokens()), absl::StrCat(c.parameters()), FormatBytes(c.weights_bytes()),
                 c.weights_dtype(),
                 absl::StrCat(c.layers(), "x", c.embedding_size(), "/", c.heads(), " heads, vocabulary ",
                              c.vocabulary_size())});
    }
  }
  std::cout << table.ToString() << "(* the model's default)\n";
}

void PrintBackends(const v1::ListBackendsResponse& response) {
  Table table({"BACKEND", "ALGORITHM", "POSITIONS", "MODELS", "DESCRIPTION"});
  for (const v1::AttentionBackend& backend : response.backends()) {
    const std::string models = absl::StrJoin(backend.models(), ",");
    table.Add({backend.name(), backend.algorithm(), backend.positions(), models.empty() ? "-" : models,
               backend.description()});
  }
  std::cout << table.ToString() << "device: " << response.device() << "\n";
}

const char* HealthName(client::Health health) {
  switch (health) {
    case client::Health::kServing:
      return "serving";
    case client::Health::kNotServing:
      return "not_serving";
    case client::Health::kUnknown:
      return "unknown";
  }
  return "unknown";
}

}  // namespace

void ModelsCommand::AddTo(CLI::App* app) {
  app->add_flag("--json", json_, "Print the ListModelsResponse in JSON");
  connection_.AddTo(app);
  app->footer(absl::StrCat("Examples:\n  precis models\n  precis models --server=127.0.0.1:50051 --json\n\n",
                           kExitCodeHelp));
}

int ModelsCommand::Run() {
  return WithClient(connection_, [this](client::SummarizerClient* client) -> int {
    auto response = client->ListModels({.timeout = connection_.Deadline()});
    if (!response.ok()) return ReportError(response.status());
    if (json_) {
      std::cout << Dump(MessageToJson(*response), true) << std::endl;
    } else {
      PrintModels(*response);
    }
    return kExitOk;
  });
}

void BackendsCommand::AddTo(CLI::App* app) {
  app->add_flag("--json", json_, "Print the ListBackendsResponse in JSON");
  connection_.AddTo(app);
  app->footer(absl::StrCat("Examples:\n  precis backends\n  precis backends --json\n\n", kExitCodeHelp));
}

int BackendsCommand::Run() {
  return WithClient(connection_, [this](client::SummarizerClient* client) -> int {
    auto response = client->ListBackends({.timeout = connection_.Deadline()});
    if (!response.ok()) return ReportError(response.status());
    if (json_) {
      std::cout << Dump(MessageToJson(*response), true) << std::endl;
    } else {
      PrintBackends(*response);
    }
    return kExitOk;
  });
}

void HealthCommand::AddTo(CLI::App* app) {
  app->add_option("--service", service_, "A service by name, such as precis.v1.Summarizer [the whole server]");
  app->add_flag("--watch", watch_, "Print every change until the deadline");
  app->add_flag("--json", json_, "Print {\"status\": ...}");
  connection_.AddTo(app);
  app->footer(absl::StrCat("Examples:\n  precis health\n  precis health --watch --deadline=1h\n\n", kExitCodeHelp));
}

int HealthCommand::Print(const absl::Status& status, client::Health health) const {
  if (!status.ok()) return ReportError(status);
  const char* name = HealthName(health);
  std::cout << (json_ ? Dump({{"status", name}}, false) : std::string(name)) << std::endl;
  return health == client::Health::kServing ? kExitOk : kExitFailed;
}

int HealthCommand::Run() {
  return WithClient(connection_, [this](client::SummarizerClient* client) -> int {
    const client::CallOptions call = {.timeout = connection_.Deadline()};
    if (!watch_) {
      auto health = client->CheckHealth(service_, call);
      return Print(health.status(), health.ok() ? *health : client::Health::kUnknown);
    }
    int code = kExitFailed;
    const absl::Status status = client->WatchHealth(
        service_,
        [&](client::Health health) {
          code = Print(absl::OkStatus(), health);
          return std::cout.good();
        },
        call);
    // To have watched until the deadline is success.
    return status.ok() || absl::IsDeadlineExceeded(status) ? code : ReportError(status);
  });
}

}  // namespace precis::cli
