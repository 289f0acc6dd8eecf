#ifndef PRECIS_CLIENT_EVAL_SCORE_LCS_H_
#define PRECIS_CLIENT_EVAL_SCORE_LCS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace precis::eval {

// Longest common subsequences with one candidate, 64 cells of the table at a time (Hyyrö 2004, "Bit-parallel LCS-length
// computation revisited"). Not thread-safe.
class LcsMatcher {
 public:
  explicit LcsMatcher(std::span<const uint32_t> candidate);

  int64_t Length(std::span<const uint32_t> reference);

  // The positions in `reference` of the longest common subsequence that rouge-score finds: walking the table from its end, equal
  // words are taken, otherwise the walk goes left where the table is larger there than above. Ascending. Keeps
  // reference.size() * candidate.size() bits.
  std::vector<int64_t> Positions(std::span<const uint32_t> reference);

 private:
  // One row of the table from the one above: bit j of a row is 0 where the table grows from column j to j + 1.
  void NextRow(uint32_t word, const uint64_t* above, uint64_t* row) const;
  // The table's value in column `columns`: zeros among the first bits.
  int64_t Value(const uint64_t* row, int64_t columns) const;

  std::span<const uint32_t> candidate_;
  size_t words_;  // 64-bit words of a row
  absl::flat_hash_map<uint32_t, std::vector<uint64_t>> matches_;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_LCS_H_
