#ifndef PRECIS_CLIENT_EVAL_SCORE_CHRF_H_
#define PRECIS_CLIENT_EVAL_SCORE_CHRF_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace precis::eval {

// What chrF needs of a pair; the statistics of a corpus are the sums over its pairs.
struct ChrfCounts {
  struct Order {
    int64_t hypothesis = 0, reference = 0, matches = 0;
  };
  std::array<Order, 6> orders;  // character n-grams, n = 1 .. 6

  ChrfCounts& operator+=(const ChrfCounts& other);
};

// Of several references the one with the best chrF, the first of equal ones; `references` is not empty.
ChrfCounts CountChrf(std::span<const std::string> references, std::string_view hypothesis);

// sacreBLEU 2.5.1's chrF2 (Popović 2015) with its defaults: mixed case, white space removed, effective order. 0 .. 100.
double Chrf(const ChrfCounts& counts);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_CHRF_H_
