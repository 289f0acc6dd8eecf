// Weights on a device beside the host's: the SIMT device's memory can be read.
#include "runtime/model/gpu_weights.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/gpu/gpu_device.h"
#include "runtime/model/config_json.h"
#include "runtime/model/gpt2_weights.h"
#include "tests/runtime/model/runner_harness.h"

namespace precis::test {
namespace {

using kernels::DType;
using kernels::GpuType;

// The integers and scales are the host's, whatever the largest integer of a row.
void ExpectSameIntegers(const kernels::PackedMatrix& host, const runtime::GpuMatrix& device) {
  ASSERT_EQ(device.type, GpuType::kI8);
  std::vector<float> row(host.in());
  for (int64_t i = 0; i < host.out(); ++i) {
    host.CopyOutputRow(i, row.data());
    const auto* integers = static_cast<const int8_t*>(device.data) + i * host.in();
    ASSERT_EQ(device.scale[i], host.OutputScale(i)) << i;
    for (int64_t j = 0; j < host.in(); ++j) ASSERT_EQ(static_cast<float>(integers[j]) * device.scale[i], row[j]) << i << " " << j;
  }
}

TEST(GpuWeightsTest, Int8IsNotRoundedAgain) {
  for (const char* dtype : {"I8", "F32"}) {
    TempDir folder;
    WriteModel(folder.path(), {.config = SmallConfig(), .dtype = dtype});
    const auto text = ReadFile(folder.file("config.json"));
    const auto config = runtime::ParseConfig(text, "config.json");
    ASSERT_TRUE(config.ok()) << config.status();
    const auto store = runtime::TensorStore::Open(folder.path());
    ASSERT_TRUE(store.ok()) << store.status();
    runtime::LoadOptions options = TestOptions();
    options.weights_auto = false;
    options.weights = DType::kI8;
    kernels::ThreadPool pool(1);
    const auto weights = runtime::LoadGpt2Weights(*store, *config, options, pool);
    ASSERT_TRUE(weights.ok()) << weights.status();
    const auto device = kernels::OpenSimtDevice({});
    runtime::GpuMemory memory(device.get());
    const auto uploaded = runtime::UploadWeights(*weights, device.get(), {}, &memory);
    ASSERT_TRUE(uploaded.ok()) << uploaded.status();
    ExpectSameIntegers(weights->embedding(), uploaded->embedding);
    for (size_t i = 0; i < uploaded->layers.size(); ++i) {
      ExpectSameIntegers(*weights->layers[i].qkv.matrix, uploaded->layers[i].qkv.matrix);
      ExpectSameIntegers(*weights->layers[i].mlp_out.matrix, uploaded->layers[i].mlp_out.matrix);
    }
  }
}

}  // namespace
}  // namespace precis::test
