#include "runtime/training/safetensors_writer.h"

#include <bit>
#include <cstring>

#include "nlohmann/json.hpp"
#include "runtime/model/status_macros.h"
#include "runtime/training/files.h"

namespace precis::runtime {
namespace {

uint16_t ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

void Append(float value, bool bf16, std::string* to) {
  if (bf16) {
    const uint16_t half = ToBf16(value);
    to->append(reinterpret_cast<const char*>(&half), 2);
  } else {
    to->append(reinterpret_cast<const char*>(&value), 4);
  }
}

std::string InFileOrder(const Parameter& p, const float* values, bool bf16) {
  std::string bytes;
  bytes.reserve(p.count() * (bf16 ? 2 : 4));
  for (int64_t i = 0; i < (p.transposed ? p.columns : p.rows); ++i) {
    for (int64_t j = 0; j < (p.transposed ? p.rows : p.columns); ++j) Append(p.transposed ? values[j * p.columns + i] : values[i * p.columns + j], bf16, &bytes);
  }
  return bytes;
}

std::vector<int64_t> FileShape(const Parameter& p) {
  if (!p.matrix) return {p.columns};
  return p.transposed ? std::vector<int64_t>{p.columns, p.rows} : std::vector<int64_t>{p.rows, p.columns};
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, const std::vector<TensorToWrite>& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (const TensorToWrite& t : tensors) {
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {offset, offset + t.bytes}}};
    offset += t.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  PRECIS_ASSIGN(FileWriter file, FileWriter::Create(path));
  PRECIS_TRY(file.Write(&length, sizeof(length)));
  PRECIS_TRY(file.Write(text.data(), static_cast<int64_t>(text.size())));
  for (const TensorToWrite& t : tensors) {
    const std::string bytes = t.data();
    PRECIS_TRY(file.Write(bytes.data(), static_cast<int64_t>(bytes.size())));
  }
  return file.Close();
}

std::vector<TensorToWrite> CheckpointTensors(const ParameterTable& table, const std::vector<float>& values, bool bf16) {
  std::vector<TensorToWrite> tensors;
  for (const Parameter& p : table.all()) {
    const float* from = values.data() + p.offset;
    tensors.push_back({p.name == "lm_head.weight" ? p.name : "transformer." + p.name, bf16 ? "BF16" : "F32", FileShape(p), p.count() * (bf16 ? 2 : 4),
                       [&p, from, bf16] { return InFileOrder(p, from, bf16); }});
  }
  return tensors;
}

std::vector<TensorToWrite> StateTensors(const ParameterTable& table, const std::vector<float>& values, const std::string& prefix) {
  std::vector<TensorToWrite> tensors;
  for (const Parameter& p : table.all()) {
    const float* from = values.data() + p.offset;
    tensors.push_back({prefix + p.name, "F32", {p.rows, p.columns}, p.count() * 4,
                       [&p, from] { return std::string(reinterpret_cast<const char*>(from), static_cast<size_t>(p.count()) * 4); }});
  }
  return tensors;
}

}  // namespace precis::runtime
