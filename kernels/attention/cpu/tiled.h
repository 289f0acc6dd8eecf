#ifndef PRECIS_KERNELS_ATTENTION_CPU_TILED_H_
#define PRECIS_KERNELS_ATTENTION_CPU_TILED_H_

#include "kernels/attention/cpu/score_kernels.h"
#include "kernels/attention/cpu/softmax_kernels.h"
#include "kernels/attention/cpu/value_kernels.h"

// The tiled engine: a tile of scores at a time, never more. Part of engine_cpu.h.
namespace precis::kernels::PRECIS_ISA {

template <class Kv, class Score>
void TiledRows(const AttentionBlock& b, const Scratch& s, const Pages<Kv>& keys, const Pages<Kv>& values) {
  const int context = b.first_position + b.rows;
  for (int begin = 0; begin < context; begin += kTileTokens) {
    const int end = MinInt(context, begin + kTileTokens);
    ScoreTile<Kv>(b, keys, s.queries, begin / 16, (end + 15) / 16, s.scores, kTileTokens);
    for (int r = MaxInt(0, begin - b.first_position); r < b.rows; ++r) {
      Rescale(b, s, r, OnlineSoftmax<Score>(b, s, r, s.scores + r * kTileTokens, begin, end));
    }
    ValueTile<Kv>(b, values, s.scores, kTileTokens, begin, end, s.outputs);
  }
}

// A single row uses the scratch of the other rows for more tiles of its own: the keys of up to kQueryBlock tiles, then their softmax, then their values.
// The same operations in the same order for the row, but memory is read in longer runs.
template <class Kv, class Score>
void TiledRow(const AttentionBlock& b, const Scratch& s, const Pages<Kv>& keys, const Pages<Kv>& values) {
  const int context = b.first_position + 1;
  float factors[kQueryBlock];
  for (int span = 0; span < context; span += kQueryBlock * kTileTokens) {
    const int stop = MinInt(context, span + kQueryBlock * kTileTokens);
    ScoreTile<Kv>(b, keys, s.queries, span / 16, (stop + 15) / 16, s.scores, kTileTokens);
    for (int begin = span, tile = 0; begin < stop; begin += kTileTokens, ++tile) {
      const int end = MinInt(context, begin + kTileTokens);
      factors[tile] = OnlineSoftmax<Score>(b, s, 0, s.scores + (begin - span), begin, end);
    }
    for (int begin = span, tile = 0; begin < stop; begin += kTileTokens, ++tile) {
      Rescale(b, s, 0, factors[tile]);
      ValueTile<Kv>(b, values, s.scores + (begin - span), kTileTokens, begin, MinInt(context, begin + kTileTokens),
                    s.outputs);
    }
  }
}

template <class Kv, class Score>
void TiledAttention(const AttentionBlock& b) {
  const Scratch s = SplitScratch(b);
  const Pages<Kv> keys = {b.keys, b.page_stride, b.block_table};
  const Pages<Kv> values = {b.values, b.page_stride, b.block_table};
  PackQueries(b, s.queries);
  ClearOutputs(b, s.outputs);
  if (b.rows == 1) {
    TiledRow<Kv, Score>(b, s, keys, values);
  } else {
    TiledRows<Kv, Score>(b, s, keys, values);
  }
  WriteOutputs(b, s.outputs, s.sums);
}

// By element type of the cache.
template <class Score>
void Tiled(const AttentionBlock& b) {
  b.bf16 ? TiledAttention<uint16_t, Score>(b) : TiledAttention<float, Score>(b);
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_CPU_TILED_H_
