#include "runtime/sampling/sampler.h"
#include "tests/kernels/gpu/gpu_ops_fixture.h"

namespace precis::kernels {
namespace {

class GpuSampleTest : public GpuOpsTest {
 protected:
  std::vector<int32_t> Sample(const std::vector<float>& logits, int vocab, int stride, const std::vector<GpuSamplingRow>& rows, const std::vector<int32_t>& edits) {
    const int count = static_cast<int>(logits.size()) / stride;
    int32_t* tokens = New<int32_t>(count);
    ops_.sample({.logits = Put(logits), .stride = stride, .vocab = vocab, .rows = count, .rows_options = rows.empty() ? nullptr : Put(rows),
                 .edits = edits.empty() ? nullptr : Put(edits), .tokens = tokens, .workspace = nullptr, .workspace_bytes = 0}, Stream{});
    EXPECT_TRUE(device_->Synchronize(Stream{}).ok()) << device_->Synchronize(Stream{});
    std::vector<int32_t> got(count);
    device_->CopyToHost(got.data(), tokens, count * 4, Stream{});
    return got;
  }
};

TEST_F(GpuSampleTest, ArgMaxTakesTheLowestIdAndNeverNan) {
  const int vocab = 2050, stride = 2053;
  std::vector<float> logits = Random(5 * stride, GpuType::kF32);
  for (int r = 0; r < 5; ++r) logits[r * stride + vocab] = 1000;  // past the vocabulary
  logits[0 * stride + 2049] = 50;
  logits[1 * stride + 1500] = logits[1 * stride + 1031] = logits[1 * stride + 7] = 50;
  logits[2 * stride + 3] = NAN;
  logits[2 * stride + 1027] = 60;
  for (int i = 0; i < vocab; ++i) logits[3 * stride + i] = i % 2 == 0 ? NAN : -INFINITY;
  logits[4 * stride + 1024] = INFINITY;
  EXPECT_EQ(Sample(logits, vocab, stride, {}, {}), (std::vector<int32_t>{2049, 7, 1027, 0, 1024}));
}

TEST_F(GpuSampleTest, EditsPenaliseAndBan) {
  const int32_t penalised = INT32_MIN;
  // Row 0: 5 penalised below 6; row 1: 5 banned though penalised too; row 2: a negative logit is multiplied; 99 lies outside.
  const std::vector<float> logits = {0, 4, 0, 0, 0, 5, 4.5f, 0, 0, 4, 0, 0, 0, 5, 1, 0, -8, -4, -9, -9, -9, -3, -8, -8};
  const std::vector<int32_t> edits = {5 | penalised, 5, 5 | penalised, 5 | penalised, 99 | penalised, 99};
  const GpuSamplingRow row = {.temperature = 0, .top_p = 1, .repetition_penalty = 1.5f, .top_k = 0, .seed = 0, .step = 0};
  std::vector<GpuSamplingRow> rows(3, row);
  rows[0].edit_begin = 0, rows[0].edit_end = 1;
  rows[1].edit_begin = 1, rows[1].edit_end = 3;
  rows[2].edit_begin = 3, rows[2].edit_end = 6;
  EXPECT_EQ(Sample(logits, 8, 8, rows, edits), (std::vector<int32_t>{6, 1, 1}));
}

// The host's sampler on the same logits. Sums are rounded differently, so a draw within 1e-9 of a boundary may differ; these have none.
TEST_F(GpuSampleTest, ChoosesAsTheHostDoes) {
  const int vocab = 1500;
  std::vector<float> logits;
  std::vector<GpuSamplingRow> rows;
  std::vector<int32_t> want;
  uint64_t seed = 7;
  for (float temperature : {0.3f, 1.0f, 2.5f}) {
    for (int32_t top_k : {0, 1, 5, 40, 5000}) {
      for (float top_p : {1.0f, 0.9f, 0.3f, 0.001f}) {
        std::vector<float> row = Random(vocab, GpuType::kF32, 3);
        for (int i = 0; i < 200; ++i) row[random_() % vocab] = std::round(row[i] * 2) / 2;  // equal logits
        row[random_() % vocab] = -INFINITY;
        logits.insert(logits.end(), row.begin(), row.end());
        ++seed;
        runtime::GenerationOptions options;
        options.temperature = temperature;
        options.top_k = top_k;
        options.top_p = top_p;
        options.seed = seed << 33 | seed;
        const std::vector<int32_t> generated(seed % 5, 3);
        options.repetition_penalty = 1;
        rows.push_back({.temperature = temperature, .top_p = top_p, .repetition_penalty = 1, .top_k = top_k, .seed = options.seed, .step = generated.size(),
                        .edit_begin = 0, .edit_end = 0});
        want.push_back(runtime::SampleToken(absl::MakeSpan(row), {.options = &options, .generated = generated}));
      }
    }
  }
  EXPECT_EQ(Sample(logits, vocab, vocab, rows, {}), want);
}

// Equal logits everywhere: top-p keeps the lowest ids, and only so many.
TEST_F(GpuSampleTest, TopPAmongEqualsTakesTheLowestIds) {
  const int vocab = 1200;
  std::vector<GpuSamplingRow> rows;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    rows.push_back({.temperature = 1, .top_p = 0.0050f, .repetition_penalty = 1, .top_k = 0, .seed = seed, .step = 1, .edit_begin = 0, .edit_end = 0});
  }
  for (int32_t token : Sample(std::vector<float>(vocab * rows.size(), 2.5f), vocab, vocab, rows, {})) EXPECT_LT(token, 6);
}

}  // namespace
}  // namespace precis::kernels
