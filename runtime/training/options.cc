#include "runtime/training/options.h"

#include <CLI/CLI.hpp>

#include "nlohmann/json.hpp"
#include "runtime/model/text.h"
#include "runtime/training/schedule.h"

namespace precis::runtime {
namespace {

constexpr const char* kFooter = R"(
Examples:
  # GPT-2 becomes an ALiBi model, which flash_alibi serves
  precis-finetune --model=gpt2 --positions=alibi --data=train.jsonl --eval-data=val.jsonl --out=runs/alibi --max-steps=2000
  # from scratch, with a tokenizer of its own
  precis-finetune --new-model=config.json --train-tokenizer=16384 --data=train.jsonl --out=runs/new
  # after an interruption: the same command with --resume; losses are the same bits as without the interruption
  precis-finetune --model=gpt2 --positions=alibi --data=train.jsonl --eval-data=val.jsonl --out=runs/alibi --max-steps=2000 --resume
  # serve the result
  precis-server --model=news=runs/alibi/best

Data: .jsonl, a row a line, {"article": "...", "highlights": "..."} (other names: document, text, source, dialogue; summary, abstract, target, tldr);
.txt, a document a line, without summaries. See runtime/training/README.md.)";

void AddModel(CLI::App& app, TrainOptions& o) {
  app.add_option("--model", o.model, "Folder of the checkpoint to start from (Hugging Face GPT-2)");
  app.add_option("--new-model", o.new_model, "A config.json: start from random weights instead");
  app.add_option("--tokenizer", o.tokenizer, "Folder of a tokenizer, with --new-model");
  app.add_option("--train-tokenizer", o.train_tokenizer, "With --new-model: train a byte-level BPE of that many tokens on the data (needs Python with `tokenizers`)")->check(CLI::Range(257, 1 << 20));
  app.add_option("--python", o.python, "Python for --train-tokenizer")->capture_default_str();
  app.add_option("--positions", o.positions, "What the result has: alibi, or learned; without it, what the checkpoint has. A checkpoint with learned positions can become an ALiBi one")->check(CLI::IsMember({"alibi", "learned"}));
  app.add_option("--out", o.out, "Folder of the run: checkpoints/, last, best, metrics.jsonl, events/, metrics.prom, loss.svg, samples.txt")->required();
}

void AddData(CLI::App& app, TrainOptions& o) {
  app.add_option("--data", o.data, "Files to train on")->required()->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  app.add_option("--eval-data", o.eval_data, "Held-out files")->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  app.add_flag("--skip-bad-rows", o.skip_bad_rows, "Leave bad rows out instead of stopping at the first");
  app.add_option("--length", o.length, "Tokens of a document with its summary at most; 0: n_positions, at most 1024")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  app.add_option("--summary-tokens", o.summary_tokens, "Tokens of a summary at most; 0: an eighth of --length")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  app.add_option("--document-weight", o.document_weight, "Weight of the loss on document tokens")->check(CLI::Range(0.0, 1e6))->capture_default_str();
  app.add_option("--summary-weight", o.summary_weight, "Weight of the loss on summary tokens")->check(CLI::Range(0.0, 1e6))->capture_default_str();
  app.add_option("--shard-documents", o.shard_documents, "Documents that are shuffled together; shards are shuffled as wholes")->check(CLI::Range(1, 1 << 30))->capture_default_str();
}

void AddCompute(CLI::App& app, TrainOptions& o) {
  app.add_option("--device", o.device, "cpu, cuda, cuda:N or simt (the GPU kernels run by the host: slow, for tests)")->capture_default_str();
  app.add_option("--threads", o.threads, "CPU threads; 0: all cores. Results don't depend on it")->check(CLI::Range(0, 1024))->capture_default_str();
  app.add_option("--dtype", o.dtype, "Activations and products: f32 or bf16. Weights, gradients and the optimiser are f32")->check(CLI::IsMember({"f32", "bf16"}))->capture_default_str();
  app.add_option("--save-dtype", o.save_dtype, "Weights in checkpoints: f32 or bf16 (the optimiser's state is f32)")->check(CLI::IsMember({"f32", "bf16"}))->capture_default_str();
  app.add_option("--attention", o.attention, "flash, or standard (keeps all probabilities: memory grows with the square of the length)")->check(CLI::IsMember({"flash", "standard"}))->capture_default_str();
  app.add_option("--recompute", o.recompute, "selective: norms and activations are computed again; layer: whole layers, for less memory")->check(CLI::IsMember({"selective", "layer"}))->capture_default_str();
  app.add_option("--peak-tflops", o.peak_tflops, "The device's peak, for MFU; 0: what a large product reaches here")->check(CLI::Range(0.0, 1e6))->capture_default_str();
}

void AddOptimiser(CLI::App& app, TrainOptions& o) {
  app.add_option("--max-steps", o.max_steps, "Steps of the optimiser")->check(CLI::Range(int64_t{1}, int64_t{1} << 40))->capture_default_str();
  app.add_option("--batch-tokens", o.batch_tokens, "Tokens of a forward and backward pass; documents are packed into it whole")->check(CLI::Range(2, 1 << 24))->capture_default_str();
  app.add_option("--accumulate", o.accumulate, "Passes of a step")->check(CLI::Range(1, 1 << 16))->capture_default_str();
  app.add_option("--rate", o.rate, "Learning rate at its highest")->check(CLI::Range(0.0, 10.0))->capture_default_str();
  app.add_option("--final-rate", o.final_rate, "At the last step; -1: a tenth of --rate")->check(CLI::Range(-1.0, 10.0))->capture_default_str();
  app.add_option("--schedule", o.schedule, "cosine, linear, trapezoid or constant")->check(CLI::IsMember({"cosine", "linear", "trapezoid", "constant"}))->capture_default_str();
  app.add_option("--warmup", o.warmup, "Steps to the highest rate; -1: a twentieth of --max-steps")->check(CLI::Range(int64_t{-1}, int64_t{1} << 40))->capture_default_str();
  app.add_option("--cooldown", o.cooldown, "Falling steps of trapezoid; -1: a fifth of --max-steps")->check(CLI::Range(int64_t{-1}, int64_t{1} << 40))->capture_default_str();
  app.add_option("--beta1", o.beta1, "AdamW")->check(CLI::Range(0.0, 0.9999999))->capture_default_str();
  app.add_option("--beta2", o.beta2, "AdamW")->check(CLI::Range(0.0, 0.9999999))->capture_default_str();
  app.add_option("--epsilon", o.epsilon, "AdamW")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--weight-decay", o.weight_decay, "AdamW, on matrices and embeddings")->check(CLI::Range(0.0, 10.0))->capture_default_str();
  app.add_option("--clip", o.clip, "Largest norm of the gradient; 0: no clipping")->check(CLI::Range(0.0, 1e9))->capture_default_str();
  app.add_option("--dropout", o.dropout, "On embeddings and on what enters the residual stream")->check(CLI::Range(0.0, 0.99))->capture_default_str();
  app.add_option("--seed", o.seed, "Of shuffling, dropout and new weights")->capture_default_str();
}

void AddRun(CLI::App& app, TrainOptions& o) {
  app.add_flag("--resume", o.resume, "Go on from OUT/last (from the beginning if there is none)");
  const auto every = CLI::Range(int64_t{0}, int64_t{1} << 40);
  app.add_option("--checkpoint-every", o.checkpoint_every, "Steps; 0: at the end alone")->check(every)->capture_default_str();
  app.add_option("--keep", o.keep, "Checkpoints to keep, beside the best")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--eval-every", o.eval_every, "Steps between evaluations; 0: at the end alone")->check(every)->capture_default_str();
  app.add_option("--patience", o.patience, "Evaluations without gain after which to stop; 0: never")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  app.add_option("--sample-every", o.sample_every, "Steps between sample summaries; 0: none")->check(every)->capture_default_str();
  app.add_option("--samples", o.samples, "Documents to summarise then")->check(CLI::Range(1, 100))->capture_default_str();
  app.add_option("--log-every", o.log_every, "Steps between progress lines")->check(CLI::Range(int64_t{1}, int64_t{1} << 40))->capture_default_str();
  app.add_option("--metrics-listen", o.metrics_listen, "host:port where Prometheus may scrape the run while it goes on (/metrics; port 0: a free one). Without it there is OUT/metrics.prom alone");
}

absl::Status Check(const TrainOptions& o) {
  if (o.model.empty() == o.new_model.empty()) {
    return absl::InvalidArgumentError("give either --model=DIR (a checkpoint to start from) or --new-model=config.json (random weights)");
  }
  if (o.new_model.empty() && (o.train_tokenizer > 0 || !o.tokenizer.empty())) {
    return absl::InvalidArgumentError("--tokenizer and --train-tokenizer go with --new-model: a checkpoint's tokens mean what its own tokenizer says");
  }
  if (!o.new_model.empty() && (o.train_tokenizer > 0) == !o.tokenizer.empty()) {
    return absl::InvalidArgumentError("--new-model needs either --tokenizer=DIR or --train-tokenizer=N");
  }
  if (o.document_weight == 0 && o.summary_weight == 0) return absl::InvalidArgumentError("--document-weight and --summary-weight are both 0: there is nothing to learn");
  if (o.patience > 0 && o.eval_data.empty()) return absl::InvalidArgumentError("--patience needs --eval-data");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TrainOptions> ParseTrainOptions(int argc, const char* const* argv, std::string* help) {
  TrainOptions o;
  CLI::App app("precis-finetune: trains a GPT-2-family summariser, from a checkpoint or from scratch; makes ALiBi models of learned ones.", "precis-finetune");
  app.footer(kFooter);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // lists of files take all, below
  AddModel(app, o);
  AddData(app, o);
  AddCompute(app, o);
  AddOptimiser(app, o);
  AddRun(app, o);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    *help = app.help();
    return o;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(Cat(error.what(), " (--help lists the flags)"));
  }
  if (absl::Status status = Check(o); !status.ok()) return status;
  if (o.final_rate < 0) o.final_rate = o.rate / 10;
  if (o.warmup < 0) o.warmup = o.max_steps / 20;
  if (o.cooldown < 0) o.cooldown = o.max_steps / 5;
  return o;
}

std::string OptionsInCommon(const TrainOptions& o, uint64_t data_fingerprint) {
  const nlohmann::json j = {
      {"--positions", o.positions}, {"--length", o.length}, {"--summary-tokens", o.summary_tokens}, {"--document-weight", o.document_weight},
      {"--summary-weight", o.summary_weight}, {"--dtype", o.dtype}, {"--attention", o.attention}, {"--recompute", o.recompute},
      {"--max-steps", o.max_steps}, {"--batch-tokens", o.batch_tokens}, {"--accumulate", o.accumulate}, {"--rate", o.rate}, {"--final-rate", o.final_rate},
      {"--schedule", o.schedule}, {"--warmup", o.warmup}, {"--cooldown", o.cooldown}, {"--beta1", o.beta1}, {"--beta2", o.beta2},
      {"--epsilon", o.epsilon}, {"--weight-decay", o.weight_decay}, {"--clip", o.clip}, {"--dropout", o.dropout}, {"--seed", o.seed},
      {"--shard-documents", o.shard_documents}, {"--data", data_fingerprint}, {"--device", o.device.substr(0, o.device.find(':'))}};
  return j.dump();
}

absl::Status CompareOptions(const std::string& then, const std::string& now) {
  const auto old = nlohmann::json::parse(then, nullptr, false), current = nlohmann::json::parse(now, nullptr, false);
  if (!old.is_object()) return absl::InvalidArgumentError("the checkpoint does not say with which options it was made");
  std::string differences;
  for (const auto& [name, value] : current.items()) {
    const auto at = old.find(name);
    if (at != old.end() && *at == value) continue;
    if (name == "--data") {
      return absl::FailedPreconditionError("--resume: the data (or the tokenizer) is not what the run began with; use the same files, or another --out");
    }
    differences += Cat(differences.empty() ? "" : ", ", name, " was ", at == old.end() ? "not recorded" : at->dump(), " and is ", value.dump(), " now");
  }
  if (!differences.empty()) {
    return absl::FailedPreconditionError(Cat("--resume: ", differences, "; use the same values, or another --out with --model=OUT/last"));
  }
  return absl::OkStatus();
}

}  // namespace precis::runtime
