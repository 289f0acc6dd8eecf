#ifndef PRECIS_TESTS_BENCH_SYSTEM_SYSTEM_BENCH_H_
#define PRECIS_TESTS_BENCH_SYSTEM_SYSTEM_BENCH_H_

#include <string>

#include "tests/bench/must.h"

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

}  // namespace precis::bench

#endif  // PRECIS_TESTS_BENCH_SYSTEM_SYSTEM_BENCH_H_
