#ifndef PRECIS_CLIENT_EVAL_RUN_MACHINE_H_
#define PRECIS_CLIENT_EVAL_RUN_MACHINE_H_

#include "absl/status/statusor.h"
#include "client/cli/json.h"
#include "client/summarizer_client.h"

namespace precis::eval {

// This machine: processor, cores, memory, system. The server may be another.
cli::Json MachineFacts();

struct Server {
  v1::ListModelsResponse models;
  v1::ListBackendsResponse backends;

  cli::Json ToJson() const;
  // Backends that some model serves.
  std::vector<std::string> Served() const;
};
absl::StatusOr<Server> AskServer(client::SummarizerClient* client);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_MACHINE_H_
