#ifndef PRECIS_TESTS_BENCH_SYSTEM_SYSTEM_BENCH_H_
#define PRECIS_TESTS_BENCH_SYSTEM_SYSTEM_BENCH_H_

#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace precis::bench {

void RegisterTokenizer();
void RegisterLoader();
void RegisterScheduler();
void RegisterEngine();
void RegisterCalls();
void StopServer();  // that RegisterCalls' benchmarks started

std::string ModelFolder();  // PRECIS_BENCH_MODEL, or the embedded model
int Threads();              // PRECIS_THREADS, or the cores
// The same English-like text each time, about so many words.
std::string Text(int words);

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

#endif  // PRECIS_TESTS_BENCH_SYSTEM_SYSTEM_BENCH_H_
