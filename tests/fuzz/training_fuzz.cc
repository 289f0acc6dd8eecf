// The input is a row of training data, and also a checkpoint's trainer_state.json.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/training/checkpoint.h"
#include "runtime/training/documents.h"
#include "runtime/training/options.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto row = precis::runtime::ParseJsonRow(text, "data.jsonl:1");
  if (row.ok()) {
    Require(!row->document.empty(), "an empty document");
  } else {
    Require(std::string(row.status().message()).rfind("data.jsonl:1", 0) == 0, "an error that does not say where");
  }
  const auto state = precis::runtime::ParseTrainerState(text, "trainer_state.json");
  if (state.ok()) {
    Require(state->step >= 0 && state->position.epoch >= 0 && state->position.index >= 0 && state->batches >= 0, "a negative count");
    const auto again = precis::runtime::ParseTrainerState(ToJson(*state).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), "again");
    Require(again.ok() && again->step == state->step && again->position.index == state->position.index, "it does not come back");
    (void)precis::runtime::CompareOptions(state->options, "{\"--rate\": 1}");
  }
  return 0;
}
