// BpeTokenizer::Create: turns what the files say into tables, or says what is wrong.
#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer/bpe_tokenizer.h"
#include "runtime/tokenizer/byte_alphabet.h"
#include "runtime/tokenizer/excerpt.h"

namespace precis::runtime {
namespace {

constexpr std::string_view kEndOfText = "<|endoftext|>";

using TokenIds = absl::flat_hash_map<std::string_view, int32_t>;

// A token of the file in an error message: short, printable.
std::string Quote(std::string_view token) {
  return absl::StrCat("\"", Excerpt(token), "\"");
}

// Checks and collects; each step relies on the ones before.
class Builder {
 public:
  explicit Builder(const BpeDefinition& definition) : definition_(definition) {}

  absl::Status AddTokens() {
    ids_.reserve(definition_.vocabulary.size());
    for (const auto& token : definition_.vocabulary) {
      if (auto status = AddToken(token); !status.ok()) return status;
    }
    for (const auto& token : definition_.special) {
      if (auto status = AddSpecial(token); !status.ok()) return status;
    }
    if (const auto found = ids_.find(kEndOfText); found != ids_.end()) {
      end_of_text_ = found->second;
      is_special_[end_of_text_] = true;
    }
    return absl::OkStatus();
  }

  absl::Status AddBytes() {
    for (int byte = 0; byte < 256; ++byte) {
      const std::string spelling = SpellByte(static_cast<unsigned char>(byte));
      const auto found = ids_.find(spelling);
      if (found == ids_.end()) {
        return absl::InvalidArgumentError(absl::StrCat("the vocabulary has no token ", Quote(spelling), " for byte 0x",
                                                       absl::Hex(byte, absl::kZeroPad2),
                                                       "; a byte-level vocabulary has all 256 of them"));
      }
      if (is_special_[found->second]) {
        return absl::InvalidArgumentError(absl::StrCat("token ", Quote(spelling), " (byte 0x",
                                                       absl::Hex(byte, absl::kZeroPad2),
                                                       ") must not be special: ordinary text needs it"));
      }
      byte_tokens_[byte] = found->second;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<MergeTable> MakeMerges() const {
    MergeTable table(definition_.merges.size());
    std::string whole;
    for (size_t rank = 0; rank < definition_.merges.size(); ++rank) {
      const auto& [left, right] = definition_.merges[rank];
      whole.assign(left).append(right);
      int32_t parts[3];
      const std::string_view names[3] = {left, right, whole};
      for (int i = 0; i < 3; ++i) {
        const auto found = ids_.find(names[i]);
        if (found == ids_.end() || is_special_[found->second]) {
          return absl::InvalidArgumentError(
              absl::StrCat("merge ", rank + 1, " (", Quote(left), " + ", Quote(right), "): token ", Quote(names[i]),
                           found == ids_.end() ? " is not in the vocabulary"
                                               : " is special and must not come from ordinary text"));
        }
        parts[i] = found->second;
      }
      table.Insert(parts[0], parts[1], {static_cast<uint32_t>(rank), parts[2]});
    }
    return table;
  }

  TokenSpellings Spell() const {
    TokenSpellings spellings;
    spellings.offsets.reserve(texts_.size() + 1);
    for (size_t id = 0; id < texts_.size(); ++id) {
      spellings.offsets.push_back(static_cast<uint32_t>(spellings.bytes.size()));
      if (texts_[id].data() == nullptr) continue;
      spellings.bytes.append(is_special_[id] ? std::string(texts_[id]) : TokenToBytes(texts_[id]));
    }
    spellings.offsets.push_back(static_cast<uint32_t>(spellings.bytes.size()));
    return spellings;
  }

  absl::Status CheckSize() const {
    const size_t count = definition_.vocabulary.size() + definition_.special.size();
    int64_t largest = -1;
    for (const auto* tokens : {&definition_.vocabulary, &definition_.special}) {
      for (const auto& token : *tokens) {
        if (token.id < 0) {
          return absl::InvalidArgumentError(absl::StrCat("token ", Quote(token.text), " has the negative id ", token.id));
        }
        largest = std::max(largest, token.id);
      }
    }
    // Tables are as long as the largest id, so a small file must not ask for large ones.
    const int64_t limit = 4 * static_cast<int64_t>(count) + 65536;
    if (largest >= limit || largest >= INT32_MAX) {
      return absl::InvalidArgumentError(absl::StrCat("a token has the id ", largest, "; a vocabulary of ", count,
                                                     " tokens may use ids up to ", limit - 1));
    }
    return absl::OkStatus();
  }

  ByteTokens byte_tokens() const { return byte_tokens_; }
  int32_t end_of_text() const { return end_of_text_; }

 private:
  absl::Status AddToken(const BpeDefinition::Token& token) {
    const auto id = static_cast<int32_t>(token.id);
    if (static_cast<size_t>(id) >= texts_.size()) {
      texts_.resize(id + 1);
      is_special_.resize(id + 1);
    }
    if (texts_[id].data() != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("tokens ", Quote(texts_[id]), " and ", Quote(token.text),
                                                     " have the same id ", id));
    }
    if (!ids_.try_emplace(token.text, id).second) {
      return absl::InvalidArgumentError(absl::StrCat("token ", Quote(token.text), " appears twice"));
    }
    texts_[id] = token.text;
    return absl::OkStatus();
  }

  absl::Status AddSpecial(const BpeDefinition::Token& token) {
    const auto found = ids_.find(token.text);
    if (found == ids_.end()) {
      if (auto status = AddToken(token); !status.ok()) return status;
    } else if (found->second != token.id) {
      return absl::InvalidArgumentError(absl::StrCat("special token ", Quote(token.text), " has the id ", token.id,
                                                     ", but ", found->second, " in the vocabulary"));
    }
    is_special_[token.id] = true;
    return absl::OkStatus();
  }

  const BpeDefinition& definition_;
  TokenIds ids_;
  std::vector<std::string_view> texts_;  // by id; null where no token has it
  std::vector<bool> is_special_;         // by id
  ByteTokens byte_tokens_ = {};
  int32_t end_of_text_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> BpeTokenizer::Create(const BpeDefinition& definition) {
  Builder builder(definition);
  if (auto status = builder.CheckSize(); !status.ok()) return status;
  if (auto status = builder.AddTokens(); !status.ok()) return status;
  if (auto status = builder.AddBytes(); !status.ok()) return status;
  absl::StatusOr<MergeTable> merges = builder.MakeMerges();
  if (!merges.ok()) return merges.status();
  return std::unique_ptr<const Tokenizer>(new BpeTokenizer(builder.Spell(), builder.byte_tokens(),
                                                           *std::move(merges), builder.end_of_text()));
}

}  // namespace precis::runtime
