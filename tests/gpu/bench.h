#ifndef PRECIS_TESTS_GPU_BENCH_H_
#define PRECIS_TESTS_GPU_BENCH_H_

// The measurements of precis-gpu-bench. Each file of benchmarks adds records; bench_main.cc prints them as tables and writes them as JSON in the form that
// torch_peers.py writes too, so that it can set both side by side.

#include <string>
#include <vector>

#include "tests/gpu/support/timing.h"

namespace precis::gpu_test {

// One number of one table: the row's name, the column's, the time and the rate derived from it.
struct Record {
  std::string table;   // "attention forward", ...
  std::string row;     // who: "precis flash", ...
  std::string column;  // on what: "1024", "64 x 900", ...
  std::string unit;    // of value: "TFLOP/s", "TB/s", "us"
  double value = 0;
  Timing time = {};
  std::string note;    // batch invariance on or off, engine
};

struct BenchOptions {
  bool variants = false;  // tuning variants too
  bool quick = false;     // fewer repeats and sizes
};

void BenchCeilings(const BenchOptions& options, std::vector<Record>& records);
void BenchAttentionForward(const BenchOptions& options, std::vector<Record>& records);
void BenchAttentionBackward(const BenchOptions& options, std::vector<Record>& records);
void BenchPagedDecode(const BenchOptions& options, std::vector<Record>& records);
void BenchProducts(const BenchOptions& options, std::vector<Record>& records);
void BenchLab(const BenchOptions& options, std::vector<Record>& records);
void BenchDecodeStep(const BenchOptions& options, std::vector<Record>& records);

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_BENCH_H_
