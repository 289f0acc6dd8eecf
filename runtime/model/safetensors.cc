#include "runtime/model/safetensors.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "runtime/model/safetensors_header.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

constexpr size_t kLengthBytes = 8;

absl::Status Error(std::string_view file_name, std::string_view what) {
  return absl::InvalidArgumentError(Cat(file_name, ": ", what));
}

absl::Status TensorError(std::string_view file_name, const TensorEntry& entry, std::string_view what) {
  return Error(file_name, Cat("tensor '", Printable(entry.name), "': ", what));
}

uint64_t ReadLittleEndian64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// Bytes that dtype and shape ask for; false if that overflows or exceeds `limit`.
bool TensorBytes(const TensorEntry& entry, uint64_t limit, uint64_t* bytes) {
  if (std::find(entry.shape.begin(), entry.shape.end(), 0u) != entry.shape.end()) {
    *bytes = 0;
    return true;
  }
  uint64_t product = TensorDTypeBytes(entry.dtype);
  for (uint64_t dim : entry.shape) {
    if (dim > limit / product) return false;
    product *= dim;
  }
  *bytes = product;
  return product <= limit;
}

absl::StatusOr<std::string_view> HeaderText(std::string_view file, std::string_view file_name) {
  if (file.size() < kLengthBytes) {
    return Error(file_name, Cat("has ", file.size(), " bytes; a safetensors file starts with 8 that give "
                                         "its header's length"));
  }
  const uint64_t length = ReadLittleEndian64(file);
  if (length > file.size() - kLengthBytes) {
    return Error(file_name, Cat("the header's length is given as ", length, ", but only ",
                                         file.size() - kLengthBytes,
                                         " bytes follow: the file is truncated or no safetensors file"));
  }
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return Error(file_name, Cat("the header has ", length, " bytes; at most ",
                                         kMaxSafetensorsHeaderBytes, " are allowed"));
  }
  return file.substr(kLengthBytes, length);
}

absl::Status CheckEntry(const TensorEntry& entry, uint64_t data_bytes, std::string_view file_name) {
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return TensorError(file_name, entry,
                       Cat("data_offsets [", entry.begin, ", ", entry.end,
                                    "] are outside of the file's ", data_bytes,
                                    " bytes of data: the file is truncated or its header is wrong"));
  }
  uint64_t bytes = 0;
  const bool fits = TensorBytes(entry, data_bytes, &bytes);
  if (!fits || bytes != entry.end - entry.begin) {
    return TensorError(file_name, entry,
                       Cat(TensorDTypeName(entry.dtype), " of shape [",
                                    absl::StrJoin(entry.shape, ", "),
                                    "] doesn't fill the ", entry.end - entry.begin,
                                    " bytes that data_offsets give it"));
  }
  // The sizes of a dimension beside a zero one are bounded by nothing else.
  for (uint64_t dim : entry.shape) {
    if (dim > uint64_t{1} << 62) return TensorError(file_name, entry, "has an absurd dimension");
  }
  return absl::OkStatus();
}

// Sorted by offset, the tensors must cover the data exactly.
absl::Status CheckCover(std::vector<TensorEntry>& entries, uint64_t data_bytes, std::string_view file_name) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t position = 0;
  for (const TensorEntry& entry : entries) {
    if (entry.begin != position) {
      return TensorError(file_name, entry,
                         Cat("starts at ", entry.begin, ", but the tensors before it end at ", position,
                                      entry.begin < position ? ": they overlap" : ": a gap lies between"));
    }
    position = entry.end;
  }
  if (position != data_bytes) {
    return Error(file_name, Cat(data_bytes - position, " bytes after the last tensor belong to none"));
  }
  return absl::OkStatus();
}

TensorView MakeView(const TensorEntry& entry, const char* data) {
  TensorView view;
  view.dtype = entry.dtype;
  view.rank = static_cast<int>(entry.shape.size());
  std::copy(entry.shape.begin(), entry.shape.end(), view.dims.begin());
  view.data = data + entry.begin;
  view.bytes = static_cast<int64_t>(entry.end - entry.begin);
  return view;
}

}  // namespace

std::string ShapeName(absl::Span<const int64_t> shape) {
  return Cat("[", absl::StrJoin(shape, ", "), "]");
}

std::string Printable(std::string_view text) {
  constexpr size_t kLimit = 120;
  std::string escaped = absl::CHexEscape(CatPiece(text.substr(0, kLimit)));
  if (text.size() > kLimit) escaped += "...";
  return escaped;
}

absl::StatusOr<TensorMap> ParseSafetensors(std::string_view file, std::string_view file_name) {
  auto header = HeaderText(file, file_name);
  if (!header.ok()) return header.status();
  auto entries = ParseSafetensorsHeader(*header);
  if (!entries.ok()) return Error(file_name, std::string(entries.status().message()));
  const std::string_view data = file.substr(kLengthBytes + header->size());
  for (const TensorEntry& entry : *entries) {
    if (auto status = CheckEntry(entry, data.size(), file_name); !status.ok()) return status;
  }
  if (auto status = CheckCover(*entries, data.size(), file_name); !status.ok()) return status;
  TensorMap tensors;
  for (TensorEntry& entry : *entries) {
    const TensorView view = MakeView(entry, data.data());
    tensors.emplace(std::move(entry.name), view);
  }
  return tensors;
}

}  // namespace precis::runtime
