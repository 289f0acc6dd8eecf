#include "tests/runtime/model/synthetic_model.h"

#include <stdlib.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace precis::test {
namespace {

using nlohmann::json;

bool EndsWith(std::string_view text, std::string_view end) { return text.ends_with(end); }
bool IsEmbedding(std::string_view name) { return name == "wte.weight" || name == "wpe.weight" || name == "lm_head.weight"; }

uint64_t HashOfName(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char byte : name) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

uint64_t ElementHash(uint64_t name_hash, uint64_t index) {
  uint64_t z = name_hash + (index + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

double Unit(uint64_t name_hash, uint64_t index) {
  return static_cast<double>(ElementHash(name_hash, index) >> 40) / 16777216.0;
}

double Amplitude(std::string_view name, int64_t fan_in) {
  double gain = 1.7;
  if (EndsWith(name, "c_attn.weight")) gain = 2.2;
  if (EndsWith(name, "attn.c_proj.weight")) gain = 0.3;
  if (IsEmbedding(name)) gain = 3.0;
  return gain / std::sqrt(static_cast<double>(fan_in));
}

uint16_t ToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// For finite values below 65504.
uint16_t ToHalf(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent = std::max(exponent, -13);  // subnormals share the smallest exponent
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 11 - exponent)));
  if (units == 0) return sign;
  // Carries of the rounding run into the exponent as they should.
  if (units < 1024) return sign | static_cast<uint16_t>(units);
  return sign | static_cast<uint16_t>(((exponent + 14) << 10) + (units - 1024));
}

template <typename T>
void Append(std::string* bytes, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes->append(raw, sizeof(T));
}

int64_t Count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t dim : shape) count *= dim;
  return count;
}

FileTensor FloatTensor(const std::string& name, const std::vector<int64_t>& shape, const std::string& dtype) {
  FileTensor tensor{name, dtype, shape, ""};
  const int64_t count = Count(shape);
  const uint64_t hash = HashOfName(name);
  const bool matrix = shape.size() == 2, f16 = dtype == "F16", bf16 = dtype == "BF16";
  const bool norm = name.find("ln_") != std::string::npos && EndsWith(name, "weight");
  const double amplitude = matrix ? Amplitude(name, IsEmbedding(name) ? shape[1] : shape[0]) : 0.2;
  tensor.bytes.reserve(count * sizeof(float));
  for (int64_t i = 0; i < count; ++i) {
    const double scaled = (2.0 * Unit(hash, i) - 1.0) * amplitude;
    const auto value = static_cast<float>(norm ? 1.0 + scaled : scaled);
    if (f16) {
      Append(&tensor.bytes, ToHalf(value));
    } else if (bf16) {
      Append(&tensor.bytes, ToBfloat16(value));
    } else {
      Append(&tensor.bytes, value);
    }
  }
  return tensor;
}

void AppendInt8Tensors(const std::string& name, const std::vector<int64_t>& shape, std::vector<FileTensor>* tensors) {
  FileTensor values{name, "I8", shape, ""};
  const uint64_t hash = HashOfName(name), scale_hash = HashOfName(name + ".scale");
  for (int64_t i = 0; i < Count(shape); ++i) {
    values.bytes.push_back(static_cast<char>(static_cast<int>((ElementHash(hash, i) >> 40) % 255) - 127));
  }
  const int64_t out = IsEmbedding(name) ? shape[0] : shape[1];
  const double amplitude = Amplitude(name, IsEmbedding(name) ? shape[1] : shape[0]);
  FileTensor scales{name + ".scale", "F32", {out}, ""};
  for (int64_t i = 0; i < out; ++i) {
    Append(&scales.bytes, static_cast<float>((0.5 + 0.5 * Unit(scale_hash, i)) * amplitude / 127.0));
  }
  tensors->push_back(std::move(values));
  tensors->push_back(std::move(scales));
}

std::vector<std::pair<std::string, std::vector<int64_t>>> Shapes(const json& config) {
  const int64_t width = config.at("n_embd"), vocabulary = config.at("vocab_size");
  int64_t inner = 4 * width;
  if (config.contains("n_inner") && !config["n_inner"].is_null()) inner = config["n_inner"];
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {{"wte.weight", {vocabulary, width}}};
  if (!config.value("alibi", false)) shapes.push_back({"wpe.weight", {config.at("n_positions"), width}});
  for (int i = 0; i < config.at("n_layer").get<int>(); ++i) {
    const std::string h = "h." + std::to_string(i) + ".";
    shapes.insert(shapes.end(), {{h + "ln_1.weight", {width}},
                                 {h + "ln_1.bias", {width}},
                                 {h + "attn.c_attn.weight", {width, 3 * width}},
                                 {h + "attn.c_attn.bias", {3 * width}},
                                 {h + "attn.c_proj.weight", {width, width}},
                                 {h + "attn.c_proj.bias", {width}},
                                 {h + "ln_2.weight", {width}},
                                 {h + "ln_2.bias", {width}},
                                 {h + "mlp.c_fc.weight", {width, inner}},
                                 {h + "mlp.c_fc.bias", {inner}},
                                 {h + "mlp.c_proj.weight", {inner, width}},
                                 {h + "mlp.c_proj.bias", {width}}});
  }
  shapes.push_back({"ln_f.weight", {width}});
  shapes.push_back({"ln_f.bias", {width}});
  if (!config.value("tie_word_embeddings", true)) shapes.push_back({"lm_head.weight", {vocabulary, width}});
  return shapes;
}

std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

}  // namespace

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "precis-test-XXXXXX").string();
  path_ = ::mkdtemp(name.data());
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

uint64_t SyntheticHash(std::string_view name, uint64_t index) { return ElementHash(HashOfName(name), index); }

std::string SafetensorsBytes(const std::vector<FileTensor>& tensors) {
  json header = json::object();
  std::string data;
  for (const FileTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  header["__metadata__"] = {{"format", "pt"}};
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string file;
  Append(&file, static_cast<uint64_t>(text.size()));
  return file + text + data;
}

std::vector<FileTensor> SyntheticTensors(const SyntheticModel& model) {
  std::vector<FileTensor> tensors;
  for (const auto& [name, shape] : Shapes(model.config)) {
    if (model.dtype == "I8" && shape.size() == 2) {
      AppendInt8Tensors(name, shape, &tensors);
    } else {
      tensors.push_back(FloatTensor(name, shape, model.dtype == "I8" ? "F32" : model.dtype));
    }
  }
  for (FileTensor& tensor : tensors) {
    if (model.prefix && !tensor.name.starts_with("lm_head")) tensor.name = "transformer." + tensor.name;
  }
  return tensors;
}

void WriteModel(const std::string& directory, const SyntheticModel& model) {
  WriteFile(directory + "/config.json", model.config.dump(2));
  std::vector<FileTensor> tensors = SyntheticTensors(model);
  if (model.shards <= 1) return WriteFile(directory + "/model.safetensors", SafetensorsBytes(tensors));
  json map = json::object();
  for (int shard = 0; shard < model.shards; ++shard) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05d-of-%05d.safetensors", shard + 1, model.shards);
    std::vector<FileTensor> part;
    for (size_t i = shard; i < tensors.size(); i += model.shards) {
      map[tensors[i].name] = name;
      part.push_back(std::move(tensors[i]));
    }
    WriteFile(directory + "/" + name, SafetensorsBytes(part));
  }
  const json index = {{"metadata", json::object()}, {"weight_map", map}};
  WriteFile(directory + "/model.safetensors.index.json", index.dump());
}

void WriteByteTokenizer(const std::string& directory) {
  json vocabulary = json::object();
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool shown = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    vocabulary[Utf8(shown ? byte : next++)] = byte;
  }
  vocabulary["<|endoftext|>"] = 256;
  WriteFile(directory + "/vocab.json", vocabulary.dump());
  WriteFile(directory + "/merges.txt", "#version: 0.2\n");
}

json SmallConfig(const json& changes) {
  json config = {{"model_type", "gpt2"}, {"n_layer", 2},      {"n_head", 4},       {"n_embd", 32},
                 {"n_positions", 64},    {"vocab_size", 257}, {"eos_token_id", 256}};
  config.update(changes);
  return config;
}

}  // namespace precis::test
