// precis-gpu-bench: times the kernels on the GPU of this machine.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tests/gpu/bench.h"
#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {
namespace {

using Benchmark = void (*)(const BenchOptions&, std::vector<Record>&);
const std::pair<const char*, Benchmark> kBenchmarks[] = {
    {"ceilings", BenchCeilings}, {"attention", BenchAttentionForward}, {"backward", BenchAttentionBackward},
    {"decode", BenchPagedDecode}, {"products", BenchProducts}, {"step", BenchDecodeStep}, {"lab", BenchLab}};

template <class Get>
std::vector<std::string> Distinct(const std::vector<Record>& records, const std::string& table, Get get) {
  std::vector<std::string> names;
  for (const Record& record : records) {
    if (record.table != table) continue;
    bool known = false;
    for (const std::string& name : names) known = known || name == get(record);
    if (!known) names.push_back(get(record));
  }
  return names;
}

void PrintTable(const std::vector<Record>& records, const std::string& table) {
  const std::vector<std::string> columns = Distinct(records, table, [](const Record& r) { return r.column; });
  const std::vector<std::string> rows = Distinct(records, table, [](const Record& r) { return r.row; });
  std::printf("\n%-34s", table.c_str());
  for (const std::string& column : columns) std::printf(" %11s", column.c_str());
  std::printf("\n");
  for (const std::string& row : rows) {
    std::printf("%-34s", row.c_str());
    std::string unit;
    for (const std::string& column : columns) {
      const Record* found = nullptr;
      for (const Record& r : records) {
        if (r.table == table && r.row == row && r.column == column) found = &r;
      }
      if (found == nullptr) {
        std::printf(" %11s", "-");
      } else {
        std::printf(found->value < 10 ? " %11.3f" : " %11.1f", found->value);
        unit = found->unit;
      }
    }
    std::printf("  %s\n", unit.c_str());
  }
}

void WriteJson(const char* path, const cudaDeviceProp& gpu, int driver, const std::vector<Record>& records) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path);
    return;
  }
  std::fprintf(file, "{\"gpu\": \"%s\", \"driver\": %d, \"records\": [\n", gpu.name, driver);
  for (size_t i = 0; i < records.size(); ++i) {
    const Record& r = records[i];
    std::fprintf(file,
                 "{\"table\": \"%s\", \"row\": \"%s\", \"column\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, \"us\": %.6g, \"us_low\": %.6g, "
                 "\"us_high\": %.6g, \"note\": \"%s\"}%s\n",
                 r.table.c_str(), r.row.c_str(), r.column.c_str(), r.unit.c_str(), r.value, r.time.median_us, r.time.low_us, r.time.high_us,
                 r.note.c_str(), i + 1 < records.size() ? "," : "");
  }
  std::fprintf(file, "]}\n");
  std::fclose(file);
}

int Usage() {
  std::fprintf(stderr, "usage: precis-gpu-bench [--only=ceilings|attention|backward|decode|products|step|lab] [--variants] [--quick] [--json=FILE]\n");
  return 2;
}

int Main(int argc, char** argv) {
  BenchOptions options;
  std::string only, json;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--variants") {
      options.variants = true;
    } else if (argument == "--quick") {
      options.quick = true;
    } else if (argument.rfind("--only=", 0) == 0) {
      only = argument.substr(7);
    } else if (argument.rfind("--json=", 0) == 0) {
      json = argument.substr(7);
    } else {
      return Usage();
    }
  }
  cudaDeviceProp gpu;
  int driver = 0;
  PRECIS_REQUIRE(cudaGetDeviceProperties(&gpu, 0));
  PRECIS_REQUIRE(cudaDriverGetVersion(&driver));
  std::printf("%s, %d multiprocessors, driver API %d; medians of CUDA graph replays between events\n", gpu.name, gpu.multiProcessorCount, driver);
  std::vector<Record> records;
  bool any = false;
  for (const auto& [name, run] : kBenchmarks) {
    if (!only.empty() && only != name) continue;
    any = true;
    const size_t before = records.size();
    run(options, records);
    const std::vector<Record> added(records.begin() + static_cast<std::ptrdiff_t>(before), records.end());
    std::vector<std::string> tables;
    for (const Record& r : added) {
      if (std::find(tables.begin(), tables.end(), r.table) == tables.end()) tables.push_back(r.table);
    }
    for (const std::string& table : tables) PrintTable(added, table);
    std::fflush(stdout);
  }
  if (!any) return Usage();
  if (!json.empty()) WriteJson(json.c_str(), gpu, driver, records);
  return 0;
}

}  // namespace
}  // namespace precis::gpu_test

int main(int argc, char** argv) { return precis::gpu_test::Main(argc, argv); }
