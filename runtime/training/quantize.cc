#include "runtime/training/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>

#include "runtime/model/config_json.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/tensor_store.h"
#include "runtime/model/text.h"
#include "runtime/training/files.h"

namespace precis::runtime {
namespace {

constexpr const char* kCopied[] = {"config.json", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "precis.json"};
constexpr int64_t kMaxCopiedBytes = int64_t{256} << 20;

struct Int8Matrix {
  std::string values;  // in file order
  std::vector<float> scales;
};

Int8Matrix Quantize(const Parameter& p, const float* values, double* squared_error, double* squared) {
  Int8Matrix result{std::string(p.count(), '\0'), std::vector<float>(p.rows)};
  for (int64_t r = 0; r < p.rows; ++r) {
    const float* row = values + r * p.columns;
    float largest = 0;
    for (int64_t c = 0; c < p.columns; ++c) largest = std::max(largest, std::abs(row[c]));
    const float scale = result.scales[r] = largest / 127.0f;
    for (int64_t c = 0; c < p.columns; ++c) {
      const float rounded = scale > 0 ? std::clamp(std::nearbyint(row[c] / scale), -127.0f, 127.0f) : 0.0f;
      result.values[p.transposed ? c * p.rows + r : r * p.columns + c] = static_cast<char>(static_cast<int8_t>(rounded));
      *squared_error += std::pow(double{rounded} * scale - row[c], 2);
      *squared += double{row[c]} * row[c];
    }
  }
  return result;
}

std::string FullName(const Parameter& p) { return p.name == "lm_head.weight" ? p.name : "transformer." + p.name; }

absl::StatusOr<QuantizeResult> WriteInto(const std::string& from, const std::string& to, const std::string& config_text) {
  PRECIS_ASSIGN(const CheckpointConfig config, ParseConfig(config_text, from + "/config.json"));
  PRECIS_ASSIGN(const TensorStore store, TensorStore::Open(from));
  const ParameterTable table(config);
  PRECIS_ASSIGN(const std::vector<float> values, ReadWeights(store, table, false));
  for (const float v : values) {
    if (!std::isfinite(v)) return absl::InvalidArgumentError(Cat(from, ": has weights that are not finite, which int8 cannot hold"));
  }
  QuantizeResult result;
  const std::vector<TensorToWrite> tensors = Int8Tensors(table, values, &result.relative_error);
  for (const TensorToWrite& t : tensors) result.bytes += t.bytes;
  PRECIS_TRY(WriteSafetensors(to + "/model.safetensors", tensors));
  for (const char* name : kCopied) {
    const std::string path = Cat(from, "/", name);
    if (!FileExists(path)) continue;
    PRECIS_ASSIGN(const std::string content, ReadSmallFile(path, kMaxCopiedBytes));
    PRECIS_TRY(WriteFile(Cat(to, "/", name), content));
  }
  PRECIS_TRY(SyncDirectory(to));
  return result;
}

}  // namespace

std::vector<TensorToWrite> Int8Tensors(const ParameterTable& table, const std::vector<float>& values, double* error) {
  std::vector<TensorToWrite> tensors;
  double squared_error = 0, squared = 0;
  for (const Parameter& p : table.all()) {
    const float* from = values.data() + p.offset;
    if (!p.matrix) {
      tensors.push_back({FullName(p), "F32", {p.columns}, p.count() * 4,
                         [&p, from] { return std::string(reinterpret_cast<const char*>(from), static_cast<size_t>(p.count()) * 4); }});
      continue;
    }
    const auto matrix = std::make_shared<const Int8Matrix>(Quantize(p, from, &squared_error, &squared));
    tensors.push_back({FullName(p), "I8", p.transposed ? std::vector<int64_t>{p.columns, p.rows} : std::vector<int64_t>{p.rows, p.columns}, p.count(),
                       [matrix] { return matrix->values; }});
    tensors.push_back({FullName(p) + ".scale", "F32", {p.rows}, p.rows * 4,
                       [matrix] { return std::string(reinterpret_cast<const char*>(matrix->scales.data()), matrix->scales.size() * 4); }});
  }
  *error = squared > 0 ? std::sqrt(squared_error / squared) : 0;
  return tensors;
}

absl::StatusOr<QuantizeResult> QuantizeCheckpoint(const std::string& from, const std::string& to) {
  if (FileExists(to)) return absl::AlreadyExistsError(Cat("--out=", to, " exists already: name a new folder"));
  PRECIS_ASSIGN(const std::string config, ReadSmallFile(from + "/config.json", kMaxConfigBytes));
  const std::string beside = to + ".tmp";
  RemoveTree(beside);
  PRECIS_TRY(MakeDirectories(beside));
  absl::StatusOr<QuantizeResult> result = WriteInto(from, beside, config);
  if (result.ok()) {
    if (absl::Status status = RenamePath(beside, to); !status.ok()) result = status;
  }
  if (!result.ok()) RemoveTree(beside);
  return result;
}

}  // namespace precis::runtime
