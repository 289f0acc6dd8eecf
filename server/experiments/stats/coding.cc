#include "server/experiments/stats/coding.h"

#include <bit>
#include <cmath>

namespace precis::stats {

void Writer::Varint(uint64_t value) {
  while (value >= 0x80) {
    out_.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out_.push_back(static_cast<char>(value));
}

void Writer::Double(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  for (int i = 0; i < 8; ++i) out_.push_back(static_cast<char>(bits >> (8 * i)));
}

void Writer::Bytes(std::string_view bytes) {
  Varint(bytes.size());
  out_.append(bytes);
}

uint64_t Reader::Varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) return Fail();
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return Fail();
}

uint64_t Reader::Bounded(uint64_t limit) {
  const uint64_t value = Varint();
  return value <= limit ? value : Fail();
}

double Reader::Double() {
  if (rest_.size() < 8) return static_cast<double>(Fail());
  uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) bits |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << (8 * i);
  rest_.remove_prefix(8);
  const auto value = std::bit_cast<double>(bits);
  return std::isfinite(value) ? value : static_cast<double>(Fail());
}

std::string_view Reader::Bytes() {
  const uint64_t size = Varint();
  if (!ok_ || size > rest_.size()) {
    Fail();
    return {};
  }
  const std::string_view bytes = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return bytes;
}

}  // namespace precis::stats
