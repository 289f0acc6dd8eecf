#include "runtime/engine/split_document.h"

#include <algorithm>
#include <utility>

namespace precis::runtime {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

// How good it is to cut before text[at]; 0: within a code point.
int QualityOfCut(std::string_view text, size_t at) {
  if ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) return 0;
  const char before = text[at - 1];
  if (before == '\n') return at > 1 && text[at - 2] == '\n' && text[at] != '\n' ? 4 : 3;
  if (!IsSpace(text[at]) || IsSpace(before)) return 1;
  return before == '.' || before == '!' || before == '?' ? 3 : 2;
}

// The best place to cut between `low` and `high`, both included; among equals the nearest to `target`. Before `low` if a code point spans them all.
size_t FindCut(std::string_view text, size_t low, size_t target, size_t high) {
  size_t best = high;
  int quality = -1;
  for (size_t at = low; at <= high; ++at) {
    const int here = QualityOfCut(text, at);
    const auto distance = [&](size_t place) { return place > target ? place - target : target - place; };
    if (here > quality || (here == quality && distance(at) < distance(best))) {
      best = at;
      quality = here;
    }
  }
  for (size_t at = low; quality == 0 && --at > 0;) {
    quality = QualityOfCut(text, at);
    if (quality > 0) best = at;
  }
  return best;
}

class Splitter {
 public:
  Splitter(const Tokenizer& tokenizer, std::string_view text, int most)
      : tokenizer_(tokenizer), text_(text), most_(most) {}

  std::vector<std::vector<int32_t>> Run() {
    std::vector<int32_t> tokens = tokenizer_.Encode(text_);
    if (tokens.size() <= static_cast<size_t>(most_)) {
      if (!tokens.empty()) pieces_.push_back(std::move(tokens));
      return std::move(pieces_);
    }
    // Where each token begins. Of the whole text; a piece's own tokens differ from these at its ends only.
    begins_.reserve(tokens.size() + 1);
    for (const int32_t token : tokens) {
      begins_.push_back(offset_);
      offset_ += tokenizer_.TokenBytes(token).size();
    }
    offset_ = 0;
    while (offset_ < text_.size()) TakePiece();
    return std::move(pieces_);
  }

 private:
  // Byte where the token `count` after the one at offset_ begins.
  size_t After(size_t first, size_t count) const {
    return first + count < begins_.size() ? begins_[first + count] : text_.size();
  }

  void TakePiece() {
    const size_t first = std::lower_bound(begins_.begin(), begins_.end(), offset_) - begins_.begin();
    const size_t left = begins_.size() - first;
    size_t most = most_;
    while (true) {
      size_t end = text_.size();
      if (left > most) {
        const size_t target = (left + (left + most - 1) / most - 1) / ((left + most - 1) / most);
        end = offset_ + FindCut(text_.substr(offset_), After(first, std::max<size_t>(target * 3 / 4, 1)) - offset_,
                                After(first, target) - offset_, After(first, most) - offset_);
      }
      std::vector<int32_t> tokens = tokenizer_.Encode(text_.substr(offset_, end - offset_));
      if (tokens.size() <= static_cast<size_t>(most_) || most == 1) {
        pieces_.push_back(std::move(tokens));
        offset_ = end;
        return;
      }
      // At a cut within a word the piece has some tokens more than the text has there.
      most -= std::min(most - 1, tokens.size() - most_);
    }
  }

  const Tokenizer& tokenizer_;
  const std::string_view text_;
  const int most_;
  size_t offset_ = 0;
  std::vector<size_t> begins_;
  std::vector<std::vector<int32_t>> pieces_;
};

}  // namespace

std::vector<std::vector<int32_t>> SplitDocument(const Tokenizer& tokenizer, std::string_view text, int most_tokens) {
  return Splitter(tokenizer, text, most_tokens).Run();
}

}  // namespace precis::runtime
