#include "runtime/model/safetensors_header.h"

#include <optional>
#include <set>
#include <utility>

#include "nlohmann/json.hpp"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

struct DTypeInfo {
  TensorDType dtype;
  std::string_view name;
  int bytes;
};

constexpr DTypeInfo kDTypes[] = {
    {TensorDType::kBool, "BOOL", 1},     {TensorDType::kU8, "U8", 1},
    {TensorDType::kI8, "I8", 1},         {TensorDType::kF8E4M3, "F8_E4M3", 1},
    {TensorDType::kF8E5M2, "F8_E5M2", 1}, {TensorDType::kI16, "I16", 2},
    {TensorDType::kU16, "U16", 2},       {TensorDType::kF16, "F16", 2},
    {TensorDType::kBf16, "BF16", 2},     {TensorDType::kI32, "I32", 4},
    {TensorDType::kU32, "U32", 4},       {TensorDType::kF32, "F32", 4},
    {TensorDType::kI64, "I64", 8},       {TensorDType::kU64, "U64", 8},
    {TensorDType::kF64, "F64", 8},
};

const DTypeInfo& Info(TensorDType dtype) { return kDTypes[static_cast<int>(dtype)]; }

std::optional<TensorDType> FindDType(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return info.dtype;
  }
  return std::nullopt;
}

// Receives the parser's events. The form is fixed: { name: { "dtype": s, "shape": [n...], "data_offsets": [n, n] },
// "__metadata__": { key: string } }; anything else ends the parse at once.
class HeaderHandler {
 public:
  absl::Status status;
  std::vector<TensorEntry> entries;

  bool null() { return Unexpected("null"); }
  bool boolean(bool) { return Unexpected("a boolean"); }
  bool number_integer(int64_t) { return Unexpected("a negative number"); }
  bool number_float(double, const std::string&) { return Unexpected("a number that is no 64-bit integer"); }
  bool binary(nlohmann::json::binary_t&) { return Unexpected("binary data"); }

  bool number_unsigned(uint64_t value) {
    if (state_ == State::kShape) {
      if (entry_.shape.size() == kMaxTensorRank) {
        return Fail(Cat("'shape' has more than ", kMaxTensorRank, " dimensions"));
      }
      entry_.shape.push_back(value);
      return true;
    }
    if (state_ == State::kOffsets && offsets_ < 2) {
      (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return Unexpected("a number");
  }

  bool string(std::string& value) {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kTensor || key_ != Key::kDType) return Unexpected("a string");
    const auto dtype = FindDType(value);
    if (!dtype) return Fail(Cat("unknown dtype '", Printable(value), "'"));
    entry_.dtype = *dtype;
    key_ = Key::kNone;
    return true;
  }

  bool start_object(size_t) {
    if (state_ == State::kStart) {
      state_ = State::kTop;
      return true;
    }
    if (state_ != State::kTop) return Unexpected("an object");
    state_ = metadata_next_ ? State::kMetadata : State::kTensor;
    return true;
  }

  bool end_object() {
    if (state_ == State::kTensor) {
      if (seen_ != 7) return Fail("needs 'dtype', 'shape' and 'data_offsets'");
      entries.push_back(std::move(entry_));
    }
    state_ = State::kTop;
    return true;
  }

  bool start_array(size_t) {
    if (state_ == State::kTensor && key_ == Key::kShape) {
      state_ = State::kShape;
      return true;
    }
    if (state_ == State::kTensor && key_ == Key::kOffsets) {
      state_ = State::kOffsets;
      offsets_ = 0;
      return true;
    }
    return Unexpected("an array");
  }

  bool end_array() {
    if (state_ == State::kOffsets && offsets_ != 2) return Fail("'data_offsets' needs two numbers");
    state_ = State::kTensor;
    key_ = Key::kNone;
    return true;
  }

  bool key(std::string& name) {
    if (state_ == State::kTop) return StartEntry(name);
    if (state_ == State::kTensor) return TensorKey(name);
    return true;  // metadata
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    return Fail(Cat("the header is not valid JSON at its byte ", position));
  }

 private:
  enum class State : uint8_t { kStart, kTop, kTensor, kMetadata, kShape, kOffsets };
  enum class Key : uint8_t { kNone, kDType, kShape, kOffsets };

  bool Fail(std::string what) {
    if (status.ok()) {
      const std::string where =
          current_.empty() ? "" : Cat("tensor '", Printable(current_), "': ");
      status = absl::InvalidArgumentError(where + what);
    }
    return false;
  }

  bool Unexpected(std::string_view what) {
    return Fail(Cat("the header has ", what, " where none belongs"));
  }

  bool StartEntry(const std::string& name) {
    current_ = name;
    if (!names_.insert(name).second) return Fail("is listed twice");
    if (static_cast<int64_t>(names_.size()) > kMaxSafetensorsTensors) {
      return Fail(Cat("more than ", kMaxSafetensorsTensors, " tensors"));
    }
    metadata_next_ = name == "__metadata__";
    entry_ = TensorEntry{.name = name};
    seen_ = 0;
    return true;
  }

  bool TensorKey(const std::string& name) {
    key_ = name == "dtype"          ? Key::kDType
           : name == "shape"        ? Key::kShape
           : name == "data_offsets" ? Key::kOffsets
                                    : Key::kNone;
    if (key_ == Key::kNone) return Fail(Cat("unknown key '", Printable(name), "'"));
    const int bit = 1 << (static_cast<int>(key_) - 1);
    if (seen_ & bit) return Fail(Cat("'", name, "' is given twice"));
    seen_ |= bit;
    return true;
  }

  State state_ = State::kStart;
  Key key_ = Key::kNone;
  int seen_ = 0;
  int offsets_ = 0;
  bool metadata_next_ = false;
  std::string current_;
  TensorEntry entry_;
  std::set<std::string, std::less<>> names_;
};

}  // namespace

std::string_view TensorDTypeName(TensorDType dtype) { return Info(dtype).name; }
int TensorDTypeBytes(TensorDType dtype) { return Info(dtype).bytes; }

absl::StatusOr<std::vector<TensorEntry>> ParseSafetensorsHeader(std::string_view json) {
  HeaderHandler handler;
  const bool parsed = nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  if (!handler.status.ok()) return handler.status;
  if (!parsed) return absl::InvalidArgumentError("the header is not valid JSON");
  return std::move(handler.entries);
}

}  // namespace precis::runtime
