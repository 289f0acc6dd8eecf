#ifndef PRECIS_TESTS_KERNELS_ATTENTION_FIXTURE_H_
#define PRECIS_TESTS_KERNELS_ATTENTION_FIXTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/attention.h"

namespace precis::kernels {

// The tokens of one sequence: [tokens][heads][head_dim] each, the same for the same seed.
struct SequenceData {
  SequenceData(int tokens, int heads, int head_dim, uint64_t seed, float spread = 1.0f);
  int tokens;
  std::vector<float> query, keys, values;
};

struct AttentionCase {
  std::string_view variant = "flash";
  CpuIsa isa = CpuIsa::kPortable;
  DType dtype = DType::kF32;
  int heads = 2;
  int head_dim = 64;
  int threads = 2;
  uint64_t page_seed = 1;              // order of pages in the pool
  int64_t limit_bytes = int64_t{1} << 30;
  int row_padding = 0;                 // floats between rows of query and output
};

// Rows [context - queries, context) of a sequence.
struct Piece {
  const SequenceData* data;
  int context;
  int queries;
};

// Writes each piece's keys and values through WriteKv into a pool whose pages are in random order and full of NaN, runs the pieces as one ragged batch with
// workspace and output full of NaN, and returns the rows of each piece. Checks that nothing was written outside output and
// workspace, and that no output is left over.
std::vector<std::vector<float>> RunPieces(const AttentionCase& c, const std::vector<Piece>& pieces);

// The same rows from the fp64 oracle, on keys and values rounded to the cache's type.
std::vector<double> Reference(const AttentionCase& c, const Piece& piece);

// max |out - ref| / max |value|.
double Error(const std::vector<float>& out, const std::vector<double>& reference, const SequenceData& data);

// For parametrised tests: every variant by every instruction set here by every cache type.
std::vector<AttentionCase> AllCases();
std::string CaseName(const AttentionCase& c);

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_ATTENTION_FIXTURE_H_
