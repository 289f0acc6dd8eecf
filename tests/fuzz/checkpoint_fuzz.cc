// The input is a model folder: 2 bytes length of config.json, 2 bytes length of model.safetensors.index.json (0: none), both texts, and the
// tensors (model.safetensors, or the index's "shard.safetensors"). Folders that load run a step.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/thread_pool.h"
#include "runtime/model/cpu_runner.h"

namespace {

using precis::runtime::ModelRunner;

std::string MakeFolder() {
  std::string name = "/tmp/precis-fuzz-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  return name;
}

// Removed at exit.
struct Folder {
  const std::string path = MakeFolder();
  std::string config = path + "/config.json", index = path + "/model.safetensors.index.json",
              single = path + "/model.safetensors", shard = path + "/shard.safetensors";
  ~Folder() {
    for (const std::string& file : {config, index, single, shard}) ::unlink(file.c_str());
    ::rmdir(path.c_str());
  }
};

void Write(const std::string& path, std::string_view bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::abort();
  std::fclose(file);
}

void RunStep(ModelRunner& runner) {
  constexpr int kTokens = 3;
  if (runner.context_tokens() < kTokens || runner.page_bytes() > (1 << 24)) return;
  std::unique_ptr<char, decltype(&std::free)> page(static_cast<char*>(std::aligned_alloc(64, runner.page_bytes())),
                                                   &std::free);
  const std::vector<int32_t> tokens(kTokens, runner.config().vocab_size - 1);
  const int32_t table = 0;
  std::vector<float> logits(runner.config().vocab_size);
  for (const auto& variant : precis::kernels::AttentionVariants()) {
    precis::runtime::StepRow row{.tokens = tokens, .block_table = &table, .variant = &variant, .logits = logits.data()};
    precis::runtime::StepOutput output;
    const bool serves = (variant.positions == precis::kernels::Positions::kAlibi) == runner.config().alibi;
    if (runner.Step({&row, 1}, {page.get(), 1}, false, {&output, 1}, nullptr).ok() != serves) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  static const auto pool = std::make_shared<precis::kernels::ThreadPool>(1);
  if (size < 4) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 4, size - 4);
  const size_t config_bytes = data[0] | data[1] << 8, index_bytes = data[2] | data[3] << 8;
  if (config_bytes + index_bytes > input.size()) return 0;
  ::unlink(folder.single.c_str());
  Write(folder.config, input.substr(0, config_bytes));
  Write(folder.index, input.substr(config_bytes, index_bytes));
  Write(index_bytes > 0 ? folder.shard : folder.single, input.substr(config_bytes + index_bytes));
  precis::runtime::LoadOptions options;
  options.isa = precis::kernels::BestCpuIsa();
  auto runner = precis::runtime::LoadCpuRunner(folder.path, options, 0, pool);
  if (runner.ok()) {
    RunStep(**runner);
  } else if (runner.status().code() != absl::StatusCode::kInvalidArgument) {
    std::abort();
  }
  return 0;
}
