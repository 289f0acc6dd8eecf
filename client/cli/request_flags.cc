#include "client/cli/request_flags.h"

#include <map>

namespace precis::cli {
namespace {

const std::map<std::string, v1::Priority> kPriorities = {
    {"low", v1::PRIORITY_LOW}, {"normal", v1::PRIORITY_NORMAL}, {"high", v1::PRIORITY_HIGH}};
const std::map<std::string, v1::TooLong> kTooLong = {{"truncate", v1::TOO_LONG_TRUNCATE},
                                                     {"reject", v1::TOO_LONG_REJECT},
                                                     {"chunk", v1::TOO_LONG_CHUNK}};
const std::map<std::string, v1::EarlyStopping> kEarlyStopping = {
    {"false", v1::EARLY_STOPPING_FALSE}, {"true", v1::EARLY_STOPPING_TRUE}, {"never", v1::EARLY_STOPPING_NEVER}};

void AddBeamFlags(RequestFlags* flags, CLI::App* app) {
  const std::string group = "Beam search";
  app->add_option("--num-beams", flags->num_beams, "Follow so many continuations, give the best; 1 = off [server: 1]")->group(group);
  app->add_option("--length-penalty", flags->length_penalty, "More than 0 favours long summaries, less short ones [server: 1]")
      ->group(group);
  app->add_option("--early-stopping", flags->early_stopping, "When to end before --max-new-tokens, as in transformers [false]")
      ->transform(CLI::Transformer(kEarlyStopping).description(""))
      ->type_name("false|true|never")
      ->group(group);
}

void AddGenerationFlags(RequestFlags* flags, CLI::App* app) {
  const std::string group = "Generation";
  app->add_option("--max-new-tokens", flags->max_new_tokens, "Most tokens of the summary [server: 128]")
      ->group(group);
  app->add_option("--min-new-tokens", flags->min_new_tokens, "Fewest tokens of the summary [server: 0]")
      ->group(group);
  app->add_option("--temperature", flags->temperature, "0 = greedy [server: 0]")->group(group);
  app->add_option("--top-k", flags->top_k, "Sample among the K most likely; 0 = no limit")->group(group);
  app->add_option("--top-p", flags->top_p, "Sample among the most likely that reach this probability")
      ->group(group);
  app->add_option("--seed", flags->seed, "The same seed gives the same summary")->group(group);
  app->add_option("--no-repeat-ngram", flags->no_repeat_ngram, "Never repeat an n-gram of this size; 0 = off")
      ->group(group);
  app->add_option("--repetition-penalty", flags->repetition_penalty, "1 = off")->group(group);
  app->add_option("--stop", flags->stop, "End before this text; may be repeated")->group(group)->allow_extra_args(false);
}

}  // namespace

void RequestFlags::AddTo(CLI::App* app) {
  const std::string group = "Request";
  app->add_option("--backend", backend, "Attention backend; see `precis backends` [the model's default]")
      ->group(group);
  app->add_option("--model", model, "Model; see `precis models` [the first that serves the backend]")
      ->group(group);
  app->add_option("--too-long", too_long, "A document that doesn't fit: truncate, reject, or summarise in pieces [truncate]")
      ->transform(CLI::Transformer(kTooLong).description(""))
      ->type_name("truncate|reject|chunk")
      ->group(group);
  app->add_option("--priority", priority, "low, normal or high [normal]")
      ->transform(CLI::Transformer(kPriorities).description(""))
      ->type_name("low|normal|high")
      ->group(group);
  app->add_option("--unit-id", unit_id, "Unit of assignment in experiments (a user, a session)")->group(group);
  app->add_option("--client-request-id", client_request_id, "Echoed in the reply and in the server's log")
      ->group(group);
  AddGenerationFlags(this, app);
  AddBeamFlags(this, app);
}

v1::SummarizeRequest RequestFlags::ToRequest() const {
  v1::SummarizeRequest request;
  request.set_attention_backend(backend);
  request.set_model(model);
  request.set_unit_id(unit_id);
  request.set_client_request_id(client_request_id);
  request.set_priority(priority);
  request.set_too_long(too_long);
  v1::GenerationOptions* options = request.mutable_options();
  if (max_new_tokens) options->set_max_new_tokens(*max_new_tokens);
  if (min_new_tokens) options->set_min_new_tokens(*min_new_tokens);
  if (temperature) options->set_temperature(*temperature);
  if (top_k) options->set_top_k(*top_k);
  if (top_p) options->set_top_p(*top_p);
  if (seed) options->set_seed(*seed);
  if (no_repeat_ngram) options->set_no_repeat_ngram_size(*no_repeat_ngram);
  if (repetition_penalty) options->set_repetition_penalty(*repetition_penalty);
  if (num_beams) options->set_num_beams(*num_beams);
  if (length_penalty) options->set_length_penalty(*length_penalty);
  options->set_early_stopping(early_stopping);
  for (const std::string& text : stop) options->add_stop_sequences(text);
  return request;
}

}  // namespace precis::cli
