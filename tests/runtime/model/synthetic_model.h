#ifndef PRECIS_TESTS_RUNTIME_MODEL_SYNTHETIC_MODEL_H_
#define PRECIS_TESTS_RUNTIME_MODEL_SYNTHETIC_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

namespace precis::test {

// A folder of its own under the system's temporary one, deleted with what it holds.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

void WriteFile(const std::string& path, std::string_view bytes);
std::string ReadFile(const std::string& path);

// A tensor as it stands in a file.
struct FileTensor {
  std::string name;
  std::string dtype;  // "F32"
  std::vector<int64_t> shape;
  std::string bytes;
};

// A safetensors file of these tensors, in this order.
std::string SafetensorsBytes(const std::vector<FileTensor>& tensors);

struct SyntheticModel {
  nlohmann::json config;      // config.json
  std::string dtype = "F32";  // F32, F16, BF16, or I8 (2-D tensors, with scales)
  bool prefix = true;         // names start with "transformer."
  int shards = 1;             // above 1: several files and an index
};

// The numbers of tests/golden/synthetic_model.py.
uint64_t SyntheticHash(std::string_view name, uint64_t index);
std::vector<FileTensor> SyntheticTensors(const SyntheticModel& model);

// config.json and the tensor files.
void WriteModel(const std::string& directory, const SyntheticModel& model);
// vocab.json and merges.txt of a byte-level tokenizer without merges: 256 bytes and <|endoftext|> = 256.
void WriteByteTokenizer(const std::string& directory);

// A small configuration: 2 layers, 4 heads, width 32, 64 positions, 257 tokens; `changes` are merged in.
nlohmann::json SmallConfig(const nlohmann::json& changes = nlohmann::json::object());

}  // namespace precis::test

#endif  // PRECIS_TESTS_RUNTIME_MODEL_SYNTHETIC_MODEL_H_
