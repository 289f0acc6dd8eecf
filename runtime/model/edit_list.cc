#include "runtime/model/edit_list.h"

#include <algorithm>

namespace precis::runtime {

bool EditList::Append(const SamplingContext& context, int vocabulary, size_t limit, std::vector<int32_t>* edits) {
  const size_t before = edits->size();
  const GenerationOptions& options = *context.options;
  if (options.repetition_penalty != 1) {
    if (seen_.size() < static_cast<size_t>(vocabulary)) seen_.resize(vocabulary);
    if (++call_ == 0) {
      std::fill(seen_.begin(), seen_.end(), 0);
      call_ = 1;
    }
    for (const auto tokens : {context.prompt, context.generated}) {
      for (const int32_t id : tokens) {
        if (id < 0 || id >= vocabulary || seen_[id] == call_) continue;
        seen_[id] = call_;
        edits->push_back(static_cast<int32_t>(static_cast<uint32_t>(id) | 0x80000000u));
      }
    }
  }
  const size_t n = options.no_repeat_ngram_size;
  const auto& generated = context.generated;
  if (n > 0 && generated.size() >= n) {
    const auto last = generated.subspan(generated.size() - (n - 1));
    for (size_t i = 0; i + n <= generated.size(); ++i) {
      if (std::equal(last.begin(), last.end(), generated.begin() + i)) edits->push_back(generated[i + n - 1]);
    }
  }
  if (context.end_of_text >= 0 && context.step() < options.min_new_tokens) edits->push_back(context.end_of_text);
  if (edits->size() - before <= limit) return true;
  edits->resize(before);
  return false;
}

}  // namespace precis::runtime
