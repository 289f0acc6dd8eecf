#include "runtime/training/start.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "nlohmann/json.hpp"
#include "runtime/model/json_object.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/training/files.h"

namespace precis::runtime {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokenizerBytes = int64_t{256} << 20;
constexpr int kDefaultLength = 1024;
constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"};

// Beside the program, as it is packed, or where it was built from.
std::string TokenizerScript() {
  std::error_code error;
  const auto beside = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "train_tokenizer.py";
  return !error && std::filesystem::exists(beside, error) ? beside.string() : PRECIS_TRAIN_TOKENIZER_SCRIPT;
}

// Runs train_tokenizer.py; its output goes to stderr.
absl::Status RunTokenizerScript(const TrainOptions& o, const std::string& to) {
  std::vector<std::string> words = {o.python, TokenizerScript(), Cat("--size=", o.train_tokenizer), Cat("--out=", to)};
  words.insert(words.end(), o.data.begin(), o.data.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) return absl::UnavailableError("no process for the tokenizer's training");
  if (child == 0) {
    dup2(2, 1);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(Cat("--train-tokenizer: ", o.python, " ", TokenizerScript(),
                                           " failed; it needs Python with `tokenizers` (--python=.venv/bin/python after deploy/install-deps)"));
}

absl::StatusOr<std::string> TokenizerFolder(const TrainOptions& o) {
  if (!o.model.empty()) return o.model;
  if (!o.tokenizer.empty()) return o.tokenizer;
  const std::string folder = o.out + "/tokenizer";  // made once: a resumed run finds it
  if (FileExists(folder + "/tokenizer.json")) return folder;
  const std::string beside = folder + ".tmp";
  PRECIS_TRY(MakeDirectories(beside));
  PRECIS_TRY(RunTokenizerScript(o, beside));
  PRECIS_TRY(RenamePath(beside, folder));
  return folder;
}

absl::Status AddTokenizer(const std::string& folder, TrainingStart* start) {
  PRECIS_ASSIGN(start->tokenizer, Tokenizer::Load(folder));
  for (const char* name : kTokenizerFiles) {
    const std::string path = Cat(folder, "/", name);
    if (!FileExists(path)) continue;
    PRECIS_ASSIGN(std::string content, ReadSmallFile(path, kMaxTokenizerBytes));
    start->files.emplace_back(name, std::move(content));
  }
  return absl::OkStatus();
}

absl::Status CheckTokenizer(const TrainingStart& start, const std::string& folder) {
  const int tokens = start.tokenizer->vocabulary_size(), model = start.config.model.vocab_size;
  if (tokens > model) {
    return absl::InvalidArgumentError(Cat(folder, ": the tokenizer has ", tokens, " tokens, the model ", model, ": they don't belong together"));
  }
  const int end = start.tokenizer->end_of_text();
  if (start.config.model.eos_token_id >= 0 && end >= 0 && end != start.config.model.eos_token_id) {
    return absl::InvalidArgumentError(Cat(folder, ": <|endoftext|> is token ", end, " of the tokenizer, but eos_token_id in config.json is ",
                                          start.config.model.eos_token_id, ": they don't belong together"));
  }
  return absl::OkStatus();
}

// What config.json may leave out when the model is new.
void CompleteNewConfig(const Tokenizer& tokenizer, json* config) {
  if (!config->contains("vocab_size")) (*config)["vocab_size"] = tokenizer.vocabulary_size();
  if (tokenizer.end_of_text() >= 0) {
    for (const char* name : {"eos_token_id", "bos_token_id"}) {
      if (!config->contains(name)) (*config)[name] = tokenizer.end_of_text();
    }
  }
  if (!config->contains("model_type")) (*config)["model_type"] = "gpt2";
}

absl::Status ChoosePositions(const TrainOptions& o, const std::string& path, TrainingStart* start, json* config) {
  bool& alibi = start->config.model.alibi;
  if (o.positions == "learned" && alibi && o.new_model.empty()) {
    return absl::InvalidArgumentError(Cat("--positions=learned: ", path, " is an ALiBi model, which has no position embeddings to go on from; "
                                          "use its learned original or --new-model"));
  }
  const bool wanted = o.positions.empty() ? alibi : o.positions == "alibi";
  start->drop_positions = wanted && !alibi;
  alibi = wanted;
  if (wanted) {
    (*config)["alibi"] = true;
  } else {
    config->erase("alibi");
  }
  return absl::OkStatus();
}

absl::Status ChooseLengths(const TrainOptions& o, const std::string& path, TrainingStart* start) {
  const int trained = start->config.model.n_positions;
  start->length = o.length > 0 ? o.length : std::min(trained, kDefaultLength);
  start->summary_tokens = o.summary_tokens > 0 ? o.summary_tokens : std::max(2, start->length / 8);
  if (!start->config.model.alibi && start->length > trained) {
    return absl::InvalidArgumentError(Cat("--length=", o.length, ": ", path, " has n_positions ", trained, ", and learned positions end there"));
  }
  if (start->length - 1 > o.batch_tokens) {
    return absl::InvalidArgumentError(Cat("--batch-tokens=", o.batch_tokens, " is less than a document of --length=", start->length, " needs"));
  }
  return absl::OkStatus();
}

// precis.json of the result: the template that it was trained with, and for ALiBi the length at which it was.
std::string PrecisJson(const TrainingStart& start) {
  json precis = {{"prompt_prefix", start.prompt.prefix}, {"prompt_suffix", start.prompt.suffix}};
  if (start.config.model.alibi) precis["context_tokens"] = start.length;
  return precis.dump(1) + "\n";
}

}  // namespace

absl::StatusOr<TrainingStart> ReadStart(const TrainOptions& o) {
  TrainingStart start;
  const std::string path = o.model.empty() ? o.new_model : o.model + "/config.json";
  PRECIS_ASSIGN(const std::string text, ReadSmallFile(path, kMaxConfigBytes));
  PRECIS_ASSIGN(json config, ParseJsonObject(text, path));
  PRECIS_ASSIGN(const std::string folder, TokenizerFolder(o));
  PRECIS_TRY(AddTokenizer(folder, &start));
  if (!o.new_model.empty()) CompleteNewConfig(*start.tokenizer, &config);
  PRECIS_ASSIGN(start.config, ParseConfig(config.dump(), path));
  PRECIS_TRY(CheckTokenizer(start, folder));
  PRECIS_TRY(ChoosePositions(o, path, &start, &config));
  PRECIS_TRY(ChooseLengths(o, path, &start));
  if (start.config.model.alibi) config["n_positions"] = start.config.model.n_positions = start.length;
  config["architectures"] = {"GPT2LMHeadModel"};
  config.erase("dtype");
  config["torch_dtype"] = o.save_dtype == "bf16" ? "bfloat16" : "float32";
  if (!o.model.empty() && FileExists(o.model + "/precis.json")) {
    PRECIS_ASSIGN(const std::string precis, ReadSmallFile(o.model + "/precis.json", kMaxConfigBytes));
    PRECIS_ASSIGN(start.prompt, ParseFolderOptions(precis, o.model + "/precis.json"));
  }
  start.files.emplace_back("config.json", config.dump(2) + "\n");
  start.files.emplace_back("precis.json", PrecisJson(start));
  return start;
}

}  // namespace precis::runtime
