// The input is a config.json, and also a precis.json.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "runtime/model/config_json.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

void CheckConfig(const precis::runtime::ModelConfig& config) {
  Require(config.n_layer > 0 && config.n_head > 0 && config.n_embd > 0 && config.n_inner > 0, "a size is not positive");
  Require(config.n_positions > 0 && config.vocab_size > 0, "a size is not positive");
  Require(config.n_embd % config.n_head == 0, "heads don't divide the width");
  Require(config.head_dim() % 2 == 0 && config.head_dim() <= 256, "a head size that kernels don't take");
  Require(config.layer_norm_epsilon > 0 && config.layer_norm_epsilon <= 1, "epsilon");
  Require(config.eos_token_id >= -1 && config.eos_token_id < config.vocab_size, "end of text outside of the vocabulary");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = precis::runtime::ParseConfig(text, "config.json");
  if (config.ok()) CheckConfig(config->model);
  const auto prompt = precis::runtime::ParseFolderOptions(text, "precis.json");
  Require(prompt.ok() || prompt.status().code() == absl::StatusCode::kInvalidArgument, "another code");
  return 0;
}
