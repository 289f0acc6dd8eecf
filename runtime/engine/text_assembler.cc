#include "runtime/engine/text_assembler.h"

#include <algorithm>
#include <string_view>

namespace precis::runtime {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

}  // namespace

bool TextAssembler::Push(int32_t token, std::string* delta) {
  pending_ += decoder_.Push(token);
  if (++tokens_ < options_.min_new_tokens) immune_ = pending_.size();
  size_t stop;
  if (FindStop(&stop)) {
    Emit(stop, delta);
    pending_.clear();
    return true;
  }
  Emit(pending_.size() - HeldBackBytes(), delta);
  return false;
}

void TextAssembler::Finish(std::string* delta) {
  pending_ += decoder_.Finish();
  Emit(pending_.size(), delta);
}

// The first stop sequence in pending_ by where it begins. What was emitted before can't be part of one.
bool TextAssembler::FindStop(size_t* position) const {
  size_t first = std::string::npos;
  for (const std::string& stop : options_.stop_sequences) {
    size_t found = pending_.find(stop);
    while (found != std::string::npos && found + stop.size() <= immune_) found = pending_.find(stop, found + 1);
    first = std::min(first, found);
  }
  *position = first;
  return first != std::string::npos;
}

// Length of the longest end of pending_ that begins a stop sequence.
size_t TextAssembler::HeldBackBytes() const {
  size_t held = 0;
  for (const std::string& stop : options_.stop_sequences) {
    const std::string_view text = pending_;
    for (size_t length = std::min(stop.size() - 1, text.size()); length > held; --length) {
      if (text.substr(text.size() - length) == std::string_view(stop).substr(0, length)) {
        held = length;
        break;
      }
    }
  }
  return held;
}

void TextAssembler::Emit(size_t bytes, std::string* delta) {
  std::string_view text = std::string_view(pending_).substr(0, bytes);
  if (summary_.empty()) text.remove_prefix(std::min(text.find_first_not_of(kWhiteSpace), text.size()));
  delta->append(text);
  summary_.append(text);
  pending_.erase(0, bytes);
  immune_ -= std::min(immune_, bytes);
}

}  // namespace precis::runtime
