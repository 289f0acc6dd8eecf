#include "client/eval/score/lcs.h"

#include <algorithm>
#include <bit>

namespace precis::eval {

LcsMatcher::LcsMatcher(std::span<const uint32_t> candidate) : candidate_(candidate), words_((candidate.size() + 63) / 64) {
  for (size_t j = 0; j < candidate.size(); ++j) {
    std::vector<uint64_t>& bits = matches_[candidate[j]];
    if (bits.empty()) bits.resize(words_);
    bits[j / 64] |= uint64_t{1} << (j % 64);
  }
}

void LcsMatcher::NextRow(uint32_t word, const uint64_t* above, uint64_t* row) const {
  const auto found = matches_.find(word);
  if (found == matches_.end()) {
    std::copy(above, above + words_, row);
    return;
  }
  uint64_t carry = 0;
  for (size_t k = 0; k < words_; ++k) {
    const uint64_t v = above[k], hits = v & found->second[k];
    const uint64_t part = v + hits, sum = part + carry;
    carry = (part < v) | (sum < part);
    row[k] = sum | (v & ~found->second[k]);
  }
}

int64_t LcsMatcher::Value(const uint64_t* row, int64_t columns) const {
  int64_t ones = 0;
  for (int64_t k = 0; k < columns / 64; ++k) ones += std::popcount(row[k]);
  if (columns % 64) ones += std::popcount(row[columns / 64] & ((uint64_t{1} << (columns % 64)) - 1));
  return columns - ones;
}

int64_t LcsMatcher::Length(std::span<const uint32_t> reference) {
  std::vector<uint64_t> row(words_, ~uint64_t{0});
  for (const uint32_t word : reference) NextRow(word, row.data(), row.data());
  return Value(row.data(), static_cast<int64_t>(candidate_.size()));
}

std::vector<int64_t> LcsMatcher::Positions(std::span<const uint32_t> reference) {
  std::vector<uint64_t> table((reference.size() + 1) * words_, ~uint64_t{0});
  for (size_t i = 0; i < reference.size(); ++i) NextRow(reference[i], &table[i * words_], &table[(i + 1) * words_]);
  std::vector<int64_t> positions;
  int64_t i = static_cast<int64_t>(reference.size()), j = static_cast<int64_t>(candidate_.size());
  while (i > 0 && j > 0) {
    if (reference[i - 1] == candidate_[j - 1]) {
      positions.push_back(--i);
      --j;
    } else if (Value(&table[i * words_], j) > Value(&table[(i - 1) * words_], j)) {
      --j;  // t[i][j] = max(t[i][j-1], t[i-1][j]) here: larger than above means that the left one is
    } else {
      --i;
    }
  }
  std::reverse(positions.begin(), positions.end());
  return positions;
}

}  // namespace precis::eval
