// What the driver says of a GPU, as metrics, and the energy of requests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/metrics/metrics.h"
#include "tests/server/metrics/exposition.h"

namespace precis::server {
namespace {

using ::testing::Optional;

const Exposition::Labels kGpu = {{"gpu_uuid", "GPU-1234"}};

std::unique_ptr<Metrics> Make() { return Metrics::Create({"1.2.3", "abc", "g++", "avx2"}); }

kernels::NvmlSample Sample(double joules) {
  kernels::NvmlSample sample;
  sample.memory_used_bytes = int64_t{3} << 30;
  sample.memory_total_bytes = int64_t{80} << 30;
  sample.power_watts = 250;
  sample.energy_joules = joules;
  sample.gpu_utilisation = 0.75;
  return sample;
}

TEST(GpuMetricsTest, ShowsWhatTheDriverSays) {
  auto metrics = Make();
  metrics->OnGpu("GPU-1234", Sample(5e6));
  const Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_gpu_memory_used_bytes", kGpu), Optional(3. * (1 << 30)));
  EXPECT_THAT(text.Sum("precis_gpu_memory_total_bytes", kGpu), Optional(80. * (1 << 30)));
  EXPECT_THAT(text.Sum("precis_gpu_power_watts", kGpu), Optional(250));
  EXPECT_THAT(text.Sum("precis_gpu_utilization_ratio", kGpu), Optional(0.75));
}

TEST(GpuMetricsTest, EnergyCountsFromTheFirstReading) {
  auto metrics = Make();
  for (double joules : {5e6, 5e6 + 40, 5e6 + 100}) metrics->OnGpu("GPU-1234", Sample(joules));
  EXPECT_THAT(Exposition(metrics->Serialize()).Sum("precis_gpu_energy_joules_total", kGpu), Optional(100));
  metrics->OnGpu("GPU-1234", Sample(12));  // the driver was loaded anew
  metrics->OnGpu("GPU-1234", Sample(20));
  EXPECT_THAT(Exposition(metrics->Serialize()).Sum("precis_gpu_energy_joules_total", kGpu), Optional(108));
}

TEST(GpuMetricsTest, WhatTheGpuDoesNotReportIsAbsent) {
  auto metrics = Make();
  kernels::NvmlSample sample;
  sample.memory_total_bytes = 1;
  metrics->OnGpu("GPU-1234", sample);
  const Exposition text(metrics->Serialize());
  for (const char* name : {"precis_gpu_power_watts", "precis_gpu_energy_joules_total", "precis_gpu_utilization_ratio"}) {
    EXPECT_EQ(text.Sum(name, kGpu), std::nullopt) << name;
  }
}

TEST(GpuMetricsTest, RequestsHaveEnergyOnlyWhereItIsKnown) {
  auto metrics = Make();
  const runtime::RequestLabels labels = {"small", "flash", "cuda"};
  const Exposition::Labels flash = {{"model", "small"}, {"attention_backend", "flash"}};
  runtime::Accounting accounting;
  metrics->OnFinished(labels, absl::OkStatus(), "end_of_text", accounting);
  EXPECT_EQ(Exposition(metrics->Serialize()).Sum("precis_request_energy_joules_count", flash), std::nullopt);
  accounting.energy_joules = 1.5;
  metrics->OnFinished(labels, absl::OkStatus(), "end_of_text", accounting);
  const Exposition text(metrics->Serialize());
  EXPECT_THAT(text.Sum("precis_request_energy_joules_count", flash), Optional(1));
  EXPECT_THAT(text.Sum("precis_request_energy_joules_sum", flash), Optional(1.5));
}

}  // namespace
}  // namespace precis::server
