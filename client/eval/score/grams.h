#ifndef PRECIS_CLIENT_EVAL_SCORE_GRAMS_H_
#define PRECIS_CLIENT_EVAL_SCORE_GRAMS_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace precis::eval {

// Numbers for words, from 1, in the order of their first appearance.
class Vocabulary {
 public:
  uint32_t Id(std::string_view word) {
    const auto found = ids_.find(absl::string_view(word.data(), word.size()));
    if (found != ids_.end()) return found->second;
    return ids_.emplace(std::string(word), static_cast<uint32_t>(ids_.size() + 1)).first->second;
  }
  size_t size() const { return ids_.size(); }
  void Clear() { ids_.clear(); }

 private:
  absl::flat_hash_map<std::string, uint32_t> ids_;
};

// All n-grams of a sequence for n = 1 .. order, exactly (no hashing): each position's next `order` symbols are packed into one
// 128-bit key and the keys sorted once. Cut to its first n symbols a sorted list stays sorted, so that every n is counted by one walk.
class Grams {
 public:
  __extension__ typedef unsigned __int128 Key;
  // Symbols are 1 .. 2^bits - 1; bits * order <= 128.
  Grams(std::span<const uint32_t> symbols, int order, int bits);

  // Distinct n-grams with their counts, ascending.
  std::vector<std::pair<Key, int64_t>> Counts(int n) const;
  // How many there are, repeated ones counted.
  int64_t Total(int n) const { return std::max<int64_t>(0, static_cast<int64_t>(keys_.size()) - n + 1); }

 private:
  int order_, bits_;
  std::vector<Key> keys_;
};

using GramCounts = std::vector<std::pair<Grams::Key, int64_t>>;

// The sum over n-grams of the smaller count.
int64_t CountMatches(const GramCounts& a, const GramCounts& b);

// How many distinct n-grams of `a` are in `b`.
int64_t CountShared(const GramCounts& a, const GramCounts& b);

// The larger count of each n-gram.
GramCounts Union(const GramCounts& a, const GramCounts& b);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_GRAMS_H_
