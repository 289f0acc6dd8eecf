#ifndef PRECIS_RUNTIME_TOKENIZER_WORD_TABLE_H_
#define PRECIS_RUNTIME_TOKENIZER_WORD_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace precis::runtime {

// The words of up to 16 bytes that are one token, so that they need no merging: nine words of ten in English prose.
// A flat hash table, at most half full, 24 bytes a slot. Const methods are thread-safe.
class WordTable {
 public:
  static constexpr size_t kLongestWord = 16;
  static constexpr int32_t kNone = -1;

  // Room for `count` words.
  explicit WordTable(size_t count);

  // Adds a word of 1 to 16 bytes that isn't in the table yet.
  void Insert(std::string_view word, int32_t id);

  // The token of the word text[begin, end), not empty, or kNone.
  int32_t Find(std::string_view text, size_t begin, size_t end) const {
    const size_t length = end - begin;
    if (length > kLongestWord) return kNone;
    const Slot word = MakeSlot(text, begin, length);
    for (size_t i = Hash(word);; i = (i + 1) & mask_) {
      const Slot& found = slots_[i];
      if (found.low == word.low && found.high == word.high && found.length == word.length) return found.id;
      if (found.length == 0) return kNone;
    }
  }

 private:
  // A word, filled up with zeros, and its token.
  struct Slot {
    uint64_t low = 0;
    uint64_t high = 0;
    uint32_t length = 0;  // 0: empty
    int32_t id = kNone;
  };

  static Slot MakeSlot(std::string_view text, size_t begin, size_t length) {
    uint64_t parts[2] = {0, 0};
    if (text.size() - begin >= sizeof(parts)) {
      std::memcpy(parts, text.data() + begin, sizeof(parts));
      if (length < 8) parts[0] &= (uint64_t{1} << (8 * length)) - 1;
      parts[1] = length <= 8 ? 0 : length == 16 ? parts[1] : parts[1] & ((uint64_t{1} << (8 * (length - 8))) - 1);
    } else {
      std::memcpy(parts, text.data() + begin, length);
    }
    return {parts[0], parts[1], static_cast<uint32_t>(length), kNone};
  }

  size_t Hash(const Slot& word) const {
    const uint64_t mixed = (word.low ^ (word.high * 0xC2B2AE3D27D4EB4Fu)) + word.length;
    return static_cast<size_t>(((mixed ^ (mixed >> 29)) * 0x9E3779B97F4A7C15u) >> shift_);
  }

  std::vector<Slot> slots_;
  size_t mask_;
  int shift_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_WORD_TABLE_H_
