#include "runtime/tokenizer/bpe_tokenizer.h"

#include <algorithm>

#include "runtime/tokenizer/pretokenizer.h"

namespace precis::runtime {

BpeTokenizer::BpeTokenizer(TokenSpellings spellings, ByteTokens byte_tokens, MergeTable merges,
                           int32_t end_of_text)
    : spellings_(std::move(spellings)),
      byte_tokens_(byte_tokens),
      merges_(std::move(merges)),
      words_(FindWords()),
      end_of_text_(end_of_text) {}

WordTable BpeTokenizer::FindWords() const {
  WordTable words(vocabulary_size());
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_size(); ++id) {
    const std::string_view word = TokenBytes(id);
    if (word.empty() || word.size() > WordTable::kLongestWord) continue;
    // A token that the merges don't lead to, as a special one, must not come from text.
    ids.clear();
    AppendWordTokens(merges_, byte_tokens_, word, &ids);
    if (ids.size() == 1 && ids[0] == id) words.Insert(word, id);
  }
  return words;
}

std::vector<int32_t> BpeTokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(WordEnd(text, pos), pos + kLongestWordBytes);
    if (const int32_t id = words_.Find(text, pos, end); id != WordTable::kNone) {
      ids.push_back(id);
    } else {
      AppendWordTokens(merges_, byte_tokens_, text.substr(pos, end - pos), &ids);
    }
    pos = end;
  }
  return ids;
}

std::string BpeTokenizer::DecodeBytes(const std::vector<int32_t>& ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes.append(TokenBytes(id));
  return bytes;
}

std::string_view BpeTokenizer::TokenBytes(int32_t id) const {
  if (id < 0 || id >= vocabulary_size()) return {};
  const uint32_t begin = spellings_.offsets[id];
  return std::string_view(spellings_.bytes).substr(begin, spellings_.offsets[id + 1] - begin);
}

}  // namespace precis::runtime
