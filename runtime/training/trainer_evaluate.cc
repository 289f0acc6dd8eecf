// The held-out loss, and summaries while training.
#include <cstdio>
#include <fstream>

#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/training/trainer.h"

namespace precis::runtime {
namespace {

// The largest; NaN never wins but in front.
int32_t Best(const std::vector<float>& logits, int32_t count) {
  int32_t best = 0;
  for (int32_t i = 1; i < count; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

}  // namespace

absl::Status Trainer::Evaluate(Scalars* scalars) {
  BatchLoss sum;
  double weight = 0;
  for (const Batch& batch : BatchesInOrder(held_out_, batches_)) {
    PRECIS_ASSIGN(const BatchLoss loss, model_->Evaluate(batch));
    sum.weighted += loss.weighted, sum.document += loss.document, sum.summary += loss.summary;
    sum.document_tokens += loss.document_tokens, sum.summary_tokens += loss.summary_tokens;
    weight += batch.weight();
  }
  if (weight <= 0) return absl::InvalidArgumentError("--eval-data: no token has a weight: are there summaries in it?");
  const double loss = sum.weighted / weight;
  scalars->emplace_back("eval/loss", loss);
  if (sum.document_tokens > 0) scalars->emplace_back("eval/loss_on_documents", sum.document / static_cast<double>(sum.document_tokens));
  if (sum.summary_tokens > 0) scalars->emplace_back("eval/loss_on_summaries", sum.summary / static_cast<double>(sum.summary_tokens));
  if (state_.best_step < 0 || loss < state_.best_evaluation) {
    state_.best_evaluation = loss;
    state_.best_step = state_.step;
    state_.evaluations_without_gain = 0;
  } else {
    ++state_.evaluations_without_gain;
  }
  return absl::OkStatus();
}

// Greedy; every token runs the whole sequence again, which is simple and right on every device.
absl::StatusOr<std::string> Trainer::Summarise(const std::vector<int32_t>& prompt) {
  Documents one;
  one.tokens = prompt;
  const size_t most = prompt.size() + static_cast<size_t>(start_.summary_tokens);
  const int32_t end = start_.tokenizer->end_of_text();
  std::vector<int32_t> summary;
  while (one.tokens.size() < most && one.tokens.size() < static_cast<size_t>(options_.batch_tokens)) {
    one.begin = {0, static_cast<int64_t>(one.tokens.size()) + 1};
    one.summary_begin = {static_cast<int32_t>(prompt.size())};
    std::vector<int32_t> kept = one.tokens;
    one.tokens.push_back(0);  // the last row's target, not used
    Batch batch;
    AddDocument(one, 0, batches_, &batch);
    PRECIS_ASSIGN(const std::vector<float> logits, model_->Logits(batch, true));
    const int32_t token = Best(logits, start_.tokenizer->vocabulary_size());
    one.tokens = std::move(kept);
    if (token == end) break;
    one.tokens.push_back(token);
    summary.push_back(token);
  }
  return ReplaceInvalidUtf8(start_.tokenizer->DecodeBytes(summary));
}

absl::Status Trainer::WriteSamples() {
  const Documents& from = held_out_.count() > 0 ? held_out_ : documents_;
  std::ofstream file(options_.out + "/samples.txt", std::ios::app);
  int written = 0;
  for (int64_t i = 0; i < from.count() && written < options_.samples; ++i) {
    if (from.summary_begin[i] >= from.length(i)) continue;  // has no summary
    const int32_t* tokens = from.tokens.data() + from.begin[i];
    const int32_t* summary_end = tokens + from.length(i) - 1;
    PRECIS_ASSIGN(const std::string text, Summarise({tokens, tokens + from.summary_begin[i]}));
    file << "step " << state_.step << ", document " << i << "\n  model:    " << text << "\n  reference:"
         << ReplaceInvalidUtf8(start_.tokenizer->DecodeBytes({tokens + from.summary_begin[i], summary_end})) << "\n";
    std::fprintf(stderr, "sample %lld: %s\n", static_cast<long long>(i), text.c_str());
    ++written;
  }
  file.close();
  if (!file) return absl::ResourceExhaustedError(Cat(options_.out, "/samples.txt: cannot be written (is the disk full?)"));
  return absl::OkStatus();
}

}  // namespace precis::runtime
