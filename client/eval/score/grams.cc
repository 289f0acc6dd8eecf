#include "client/eval/score/grams.h"

namespace precis::eval {
namespace {

template <typename Visit>
void VisitShared(const GramCounts& a, const GramCounts& b, Visit visit) {
  for (auto i = a.begin(), j = b.begin(); i != a.end() && j != b.end();) {
    if (i->first == j->first) {
      visit(i->second, j->second);
      ++i, ++j;
    } else if (i->first < j->first) {
      ++i;
    } else {
      ++j;
    }
  }
}

}  // namespace

Grams::Grams(std::span<const uint32_t> symbols, int order, int bits) : order_(order), bits_(bits), keys_(symbols.size()) {
  // From the end, each key is its symbol and then the next key's first order - 1 symbols; zeros past the end.
  Key key = 0;
  for (size_t i = symbols.size(); i-- > 0;) {
    key = key >> bits | static_cast<Key>(symbols[i]) << (bits * (order - 1));
    keys_[i] = key;
  }
  std::sort(keys_.begin(), keys_.end());
}

GramCounts Grams::Counts(int n) const {
  GramCounts counts;
  counts.reserve(keys_.size());
  const Key last = (static_cast<Key>(1) << bits_) - 1;
  for (const Key whole : keys_) {
    const Key key = whole >> (bits_ * (order_ - n));
    if ((key & last) == 0) continue;  // the sequence ends before
    if (counts.empty() || counts.back().first != key) counts.emplace_back(key, 0);
    ++counts.back().second;
  }
  return counts;
}

int64_t CountMatches(const GramCounts& a, const GramCounts& b) {
  int64_t matches = 0;
  VisitShared(a, b, [&](int64_t x, int64_t y) { matches += std::min(x, y); });
  return matches;
}

int64_t CountShared(const GramCounts& a, const GramCounts& b) {
  int64_t shared = 0;
  VisitShared(a, b, [&](int64_t, int64_t) { ++shared; });
  return shared;
}

GramCounts Union(const GramCounts& a, const GramCounts& b) {
  GramCounts merged;
  merged.reserve(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(merged));
  // Of an n-gram that both have, the pair with the larger count comes second.
  GramCounts result;
  for (const auto& pair : merged) {
    if (!result.empty() && result.back().first == pair.first) {
      result.back() = pair;
    } else {
      result.push_back(pair);
    }
  }
  return result;
}

}  // namespace precis::eval
