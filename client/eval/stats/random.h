#ifndef PRECIS_CLIENT_EVAL_STATS_RANDOM_H_
#define PRECIS_CLIENT_EVAL_STATS_RANDOM_H_

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace precis::eval {

// The same draws for the same seed with every standard library (std's distributions differ). Not thread-safe.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t bound) {  // uniform over 0 .. bound - 1; bound > 0
    const uint64_t rest = (~bound + 1) % bound;
    uint64_t value = engine_();
    while (value < rest) value = engine_();
    return value % bound;
  }
  uint64_t Bits() { return engine_(); }
  double Unit() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }  // [0, 1)
  template <typename T>
  void Shuffle(std::vector<T>* values) {
    for (size_t i = values->size(); i > 1; --i) std::swap((*values)[i - 1], (*values)[Below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_STATS_RANDOM_H_
