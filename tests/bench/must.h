#ifndef PRECIS_TESTS_BENCH_MUST_H_
#define PRECIS_TESTS_BENCH_MUST_H_

// Benchmarks end at the first error, with its text.

#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace precis::bench {

inline void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}
template <typename T>
T Must(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

}  // namespace precis::bench

#endif  // PRECIS_TESTS_BENCH_MUST_H_
