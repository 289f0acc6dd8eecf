#ifndef PRECIS_TESTS_RUNTIME_TRAINING_TRAINING_GOLDEN_H_
#define PRECIS_TESTS_RUNTIME_TRAINING_TRAINING_GOLDEN_H_

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/training/batches.h"
#include "runtime/training/train_model.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::test {

// tests/golden/training/NAME.json.
inline nlohmann::json TrainingGolden(const std::string& name) {
  return nlohmann::json::parse(ReadFile(std::string(PRECIS_SOURCE_DIR) + "/tests/golden/training/" + name + ".json"));
}

// Documents of a golden file, packed into one batch.
inline runtime::Batch PackedBatch(const nlohmann::json& documents, float document_weight, float summary_weight) {
  runtime::Batch batch;
  for (const nlohmann::json& doc : documents) {
    runtime::Documents one;
    one.tokens = doc["tokens"].get<std::vector<int32_t>>();
    one.begin = {0, static_cast<int64_t>(one.tokens.size())};
    one.summary_begin = {doc["summary_begin"].get<int32_t>()};
    runtime::AddDocument(one, 0, {.document_weight = document_weight, .summary_weight = summary_weight}, &batch);
  }
  return batch;
}

// The synthetic weights in the table's order; `file_values`: numbers by tensor as a file holds them.
inline void FileToMemory(const runtime::Parameter& p, const float* file, float* memory) {
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t c = 0; c < p.columns; ++c) memory[r * p.columns + c] = p.transposed ? file[c * p.rows + r] : file[r * p.columns + c];
  }
}

inline std::vector<float> SyntheticWeights(const nlohmann::json& config, const runtime::ParameterTable& table) {
  std::vector<float> weights(table.total(), 0.0f);
  for (const FileTensor& tensor : SyntheticTensors({.config = config, .prefix = false})) {
    const runtime::Parameter& p = table.Find(tensor.name);
    EXPECT_EQ(p.name, tensor.name);
    std::vector<float> values(tensor.bytes.size() / 4);
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    EXPECT_EQ(static_cast<int64_t>(values.size()), p.count()) << tensor.name;
    FileToMemory(p, values.data(), weights.data() + p.offset);
  }
  return weights;
}

inline std::unique_ptr<runtime::TrainModel> GoldenModel(const nlohmann::json& config, runtime::TrainModelOptions options, kernels::TrainDevice* device) {
  auto parsed = runtime::ParseConfig(config.dump(), "config.json");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  if (options.max_rows == 0) options.max_rows = 128;
  auto model = runtime::TrainModel::Create(*parsed, options, device);
  EXPECT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->SetState(SyntheticWeights(config, (*model)->table()), nullptr, nullptr).ok());
  return *std::move(model);
}

}  // namespace precis::test

#endif  // PRECIS_TESTS_RUNTIME_TRAINING_TRAINING_GOLDEN_H_
