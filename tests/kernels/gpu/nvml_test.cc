// The management library's interface, by a library of ours in its place (fake_nvml.c).
#include "kernels/gpu/nvml.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace precis::kernels {
namespace {

TEST(NvmlTest, ReadsWhatTheLibrarySays) {
  const auto nvml = Nvml::Open("GPU-fake");
  ASSERT_TRUE(nvml.ok()) << nvml.status();
  const auto sample = (*nvml)->Read();
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(sample->memory_used_bytes, 400);
  EXPECT_EQ(sample->memory_total_bytes, 1000);
  EXPECT_EQ(sample->power_watts, 123.5);
  EXPECT_EQ(sample->energy_joules, std::nullopt) << "not supported by this GPU";
  EXPECT_EQ(sample->gpu_utilisation, 0.42);
  EXPECT_EQ(sample->memory_utilisation, 0.07);
}

TEST(NvmlTest, NamesAGpuThatIsNotThere) {
  const auto nvml = Nvml::Open("GPU-other");
  EXPECT_EQ(nvml.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(nvml.status().message(), "GPU-other")) << nvml.status();
  EXPECT_TRUE(absl::StrContains(nvml.status().message(), "Not Found")) << nvml.status();
}

}  // namespace
}  // namespace precis::kernels
