#ifndef PRECIS_CLIENT_CLI_REQUEST_FLAGS_H_
#define PRECIS_CLIENT_CLI_REQUEST_FLAGS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "precis/v1/summarizer.pb.h"

namespace precis::cli {

// The fields of a SummarizeRequest besides the document. What isn't given is left to the server's default, and the server
// checks the ranges: its limits can differ from ours.
struct RequestFlags {
  std::string backend, model, unit_id, client_request_id;
  std::optional<int> max_new_tokens, min_new_tokens, top_k, no_repeat_ngram, num_beams;
  std::optional<float> temperature, top_p, repetition_penalty, length_penalty;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  v1::Priority priority = v1::PRIORITY_UNSPECIFIED;
  v1::EarlyStopping early_stopping = v1::EARLY_STOPPING_UNSPECIFIED;
  v1::TooLong too_long = v1::TOO_LONG_UNSPECIFIED;

  void AddTo(CLI::App* app);
  v1::SummarizeRequest ToRequest() const;
};

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_REQUEST_FLAGS_H_
