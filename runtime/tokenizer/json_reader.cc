#include "runtime/tokenizer/json_reader.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer/excerpt.h"

namespace precis::runtime {
namespace {

using nlohmann::json;

// Receives nlohmann-json's events: tokens and merges go to their vectors, the rest into a tree.
class Sax {
 public:
  Sax(bool root_is_vocabulary, size_t text_bytes) : place_(root_is_vocabulary ? kBeforeVocabulary : kRest) {
    // Strings only shrink when they are unescaped, so that this never grows; it is too long to be kept inside the
    // std::string, so that moving it moves no bytes: views into it stay good.
    result_.strings.reserve(text_bytes + 64);
  }

  bool null() { return Value(json()); }
  bool boolean(bool value) { return Value(json(value)); }
  bool number_float(double value, const std::string&) { return Value(json(value)); }
  bool binary(std::vector<uint8_t>&) { return false; }
  bool number_integer(int64_t value) { return place_ == kVocabulary ? Token(value) : Value(json(value)); }
  bool number_unsigned(uint64_t value) {
    if (place_ != kVocabulary) return Value(json(value));
    return Token(value <= INT64_MAX ? static_cast<int64_t>(value) : INT64_MAX);
  }

  bool string(std::string& value) {
    if (place_ == kMerges) return MergeText(Keep(value));
    if (place_ == kMergePair) return MergeHalf(Keep(value));
    return Value(json(std::move(value)));
  }

  bool key(std::string& value) {
    if (place_ == kVocabulary) {
      token_ = Keep(value);
    } else {
      key_ = std::move(value);
    }
    return true;
  }

  bool start_object(size_t) {
    if ((place_ == kBeforeVocabulary && stack_.empty()) || AtModel("vocab")) {
      place_ = kVocabulary;
      result_.has_vocabulary = true;
      return true;
    }
    return Open(json::object());
  }

  bool end_object() {
    if (place_ != kVocabulary) return Close();
    place_ = stack_.empty() ? kBeforeVocabulary : kRest;
    return true;
  }

  bool start_array(size_t) {
    if (place_ == kMerges) {
      place_ = kMergePair;
      half_count_ = 0;
      return true;
    }
    if (AtModel("merges")) {
      place_ = kMerges;
      result_.has_merges = true;
      return true;
    }
    return Open(json::array());
  }

  bool end_array() {
    if (place_ == kMergePair) return EndPair();
    if (place_ != kMerges) return Close();
    place_ = kRest;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const json::exception& error) {
    std::string_view what = error.what();
    if (const size_t end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    return Fail(absl::StrCat("not JSON (at byte ", position, "): ", Excerpt(what, 200)));
  }

  // After the parser is done.
  absl::StatusOr<TokenizerJson> Take() {
    if (!error_.empty()) return absl::InvalidArgumentError(error_);
    return std::move(result_);
  }

 private:
  enum Place { kBeforeVocabulary, kVocabulary, kMerges, kMergePair, kRest };

  bool Fail(std::string error) {
    if (error_.empty()) error_ = std::move(error);
    return false;
  }

  std::string_view Keep(const std::string& text) {
    const size_t begin = result_.strings.size();
    result_.strings.append(text);
    return std::string_view(result_.strings).substr(begin);
  }

  // Is the parser right before the value of model.<member>?
  bool AtModel(std::string_view member) const {
    return place_ == kRest && stack_.size() == 2 && model_depth_ == 2 && key_ == member && stack_.back()->is_object();
  }

  bool Token(int64_t id) {
    result_.definition.vocabulary.push_back({token_, id});
    return true;
  }

  bool BadMerge() {
    return Fail(absl::StrCat("model.merges[", result_.definition.merges.size(),
                             "] is neither \"left right\" nor [\"left\", \"right\"]"));
  }

  bool MergeText(std::string_view text) {
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) return BadMerge();
    result_.definition.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    return true;
  }

  bool MergeHalf(std::string_view half) {
    if (half_count_ == 2) return BadMerge();
    halves_[half_count_++] = half;
    return true;
  }

  bool EndPair() {
    if (half_count_ != 2) return BadMerge();
    result_.definition.merges.emplace_back(halves_[0], halves_[1]);
    place_ = kMerges;
    return true;
  }

  // A value that is no token and no merge.
  bool Value(json value) {
    if (place_ == kMerges || place_ == kMergePair) return BadMerge();
    if (place_ == kVocabulary) {
      return Fail(absl::StrCat("the id of token \"", Excerpt(token_), "\" is of type ", value.type_name(),
                               "; it must be an integer"));
    }
    Add(std::move(value));
    return true;
  }

  json* Add(json value) {
    if (stack_.empty()) return &(result_.rest = std::move(value));
    json& parent = *stack_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool Open(json value) {
    if (place_ == kVocabulary || place_ == kMerges || place_ == kMergePair) return Value(std::move(value));
    const bool is_model = stack_.size() == 1 && stack_.back()->is_object() && key_ == "model";
    stack_.push_back(Add(std::move(value)));
    if (is_model) model_depth_ = stack_.size();
    return true;
  }

  bool Close() {
    if (model_depth_ == stack_.size()) model_depth_ = 0;
    stack_.pop_back();
    return true;
  }

  TokenizerJson result_;
  Place place_;
  std::string error_;
  std::string key_;
  std::string_view token_;        // the key, in the vocabulary
  std::string_view halves_[2];    // of the merge that is being read
  int half_count_ = 0;
  std::vector<json*> stack_;   // the open objects and arrays of `rest`
  size_t model_depth_ = 0;     // of the open object `model` on the stack, 0 outside it
};

absl::StatusOr<TokenizerJson> Read(std::string_view text, bool root_is_vocabulary) {
  Sax sax(root_is_vocabulary, text.size());
  json::sax_parse(text.begin(), text.end(), &sax);
  return sax.Take();
}

}  // namespace

absl::StatusOr<TokenizerJson> ReadVocabJson(std::string_view text) { return Read(text, true); }

absl::StatusOr<TokenizerJson> ReadTokenizerJson(std::string_view text) { return Read(text, false); }

}  // namespace precis::runtime
