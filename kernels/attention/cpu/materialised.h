#ifndef PRECIS_KERNELS_ATTENTION_CPU_MATERIALISED_H_
#define PRECIS_KERNELS_ATTENTION_CPU_MATERIALISED_H_

#include "kernels/attention/cpu/score_kernels.h"
#include "kernels/attention/cpu/softmax_kernels.h"
#include "kernels/attention/cpu/value_kernels.h"

// The materialised engine, in three passes over a score matrix in memory. Part of engine_cpu.h.
namespace precis::kernels::PRECIS_ISA {

template <class Kv>
void MaterialisedScores(const AttentionBlock& b) {
  const Scratch s = SplitScratch(b);
  const Pages<Kv> keys = {b.keys, b.page_stride, b.block_table};
  PackQueries(b, s.queries);
  ScoreTile<Kv>(b, keys, s.queries, 0, (b.first_position + b.rows + 15) / 16, b.scores, b.scores_stride);
}

template <class Score>
void MaterialisedSoftmax(const AttentionBlock& b) {
  for (int r = 0; r < b.rows; ++r) {
    float* row = b.scores + r * b.scores_stride;
    const int position = b.first_position + r;
    const float maximum = LogitsOfRow<Score>(row, position + 1, 0, position, b.slope);
    b.sums[r] = ExpOfRow(row, position + 1, maximum);
  }
}

template <class Kv>
void MaterialisedValues(const AttentionBlock& b) {
  const Scratch s = SplitScratch(b);
  const Pages<Kv> values = {b.values, b.page_stride, b.block_table};
  ClearOutputs(b, s.outputs);
  const int context = b.first_position + b.rows;
  for (int begin = 0; begin < context; begin += kTileTokens) {
    ValueTile<Kv>(b, values, b.scores + begin, b.scores_stride, begin, MinInt(context, begin + kTileTokens), s.outputs);
  }
  WriteOutputs(b, s.outputs, b.sums);
}

// By element type of the cache.
inline void Scores(const AttentionBlock& b) {
  b.bf16 ? MaterialisedScores<uint16_t>(b) : MaterialisedScores<float>(b);
}
inline void Values(const AttentionBlock& b) {
  b.bf16 ? MaterialisedValues<uint16_t>(b) : MaterialisedValues<float>(b);
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_CPU_MATERIALISED_H_
