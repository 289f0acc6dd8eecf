// Checkpoint folders: what loads, and what each broken one is refused with.
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/model/runner_harness.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// Writes the small model after `change` saw its tensors; the error of loading it, or "".
std::string ErrorAfter(const std::function<void(std::vector<FileTensor>&)>& change,
                       const SyntheticModel& model = {.config = SmallConfig()}) {
  TempDir directory;
  WriteModel(directory.path(), model);
  std::vector<FileTensor> tensors = SyntheticTensors(model);
  change(tensors);
  WriteFile(directory.file("model.safetensors"), SafetensorsBytes(tensors));
  const auto runner = LoadFolder(directory.path(), TestOptions());
  if (runner.ok()) return "";
  EXPECT_EQ(runner.status().code(), absl::StatusCode::kInvalidArgument) << runner.status();
  EXPECT_THAT(std::string(runner.status().message()), HasSubstr(directory.file("model.safetensors: tensor '")));
  return std::string(runner.status().message());
}

FileTensor& Named(std::vector<FileTensor>& tensors, std::string_view name) {
  for (FileTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors.front();
}

void Erase(std::vector<FileTensor>& tensors, std::string_view name) {
  std::erase_if(tensors, [&](const FileTensor& tensor) { return tensor.name == name; });
}

FileTensor Bytes(std::string name, std::string dtype, std::vector<int64_t> shape, size_t bytes) {
  return {std::move(name), std::move(dtype), std::move(shape), std::string(bytes, '\1')};
}

std::vector<float> LogitsOf(const SyntheticModel& model, const std::function<void(std::vector<FileTensor>&)>& change = {}) {
  TempDir directory;
  WriteModel(directory.path(), model);
  if (change) {
    std::vector<FileTensor> tensors = SyntheticTensors(model);
    change(tensors);
    WriteFile(directory.file("model.safetensors"), SafetensorsBytes(tensors));
  }
  auto runner = LoadFolder(directory.path(), TestOptions());
  EXPECT_TRUE(runner.ok()) << runner.status();
  KvPages pages(**runner, 4, 1);
  const bool alibi = (*runner)->config().alibi;
  Sequence sequence{kernels::FindAttentionVariant(alibi ? "flash_alibi" : "flash"), pages.Take(20), 0};
  return RunTokens(**runner, pages, sequence, RandomTokens("loader", 20, 257));
}

TEST(Loader, ReportsWhatItLoaded) {
  const auto runner = LoadSynthetic({.config = SmallConfig()}, TestOptions());
  ASSERT_TRUE(runner.ok()) << runner.status();
  const int64_t matrices = 257 * 32 + 64 * 32 + 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128);
  const int64_t vectors = 2 * (4 * 32 + 96 + 32 + 128 + 32) + 2 * 32;
  EXPECT_EQ((*runner)->parameters(), matrices + vectors);
  EXPECT_GE((*runner)->weights_bytes(), 4 * (matrices + vectors));
  EXPECT_EQ((*runner)->context_tokens(), 64);
  EXPECT_EQ((*runner)->device(), "cpu");
  EXPECT_EQ((*runner)->page_bytes(), 2 * 2 * 16 * 32 * 4);
}

TEST(Loader, PrefixShardsAndAlignmentDoNotMatter) {
  for (const char* dtype : {"F32", "F16", "BF16", "I8"}) {
    const std::vector<float> expected = LogitsOf({.config = SmallConfig(), .dtype = dtype});
    EXPECT_EQ(expected, LogitsOf({.config = SmallConfig(), .dtype = dtype, .prefix = false})) << dtype;
    EXPECT_EQ(expected, LogitsOf({.config = SmallConfig(), .dtype = dtype, .shards = 5})) << dtype;
    const auto shift = [](std::vector<FileTensor>& tensors) {
      tensors.insert(tensors.begin(), Bytes("transformer.h.0.attn.masked_bias", "U8", {3}, 3));
      tensors.push_back(Bytes("transformer.h.1.attn.bias", "BOOL", {1, 1, 8, 8}, 64));
    };
    EXPECT_EQ(expected, LogitsOf({.config = SmallConfig(), .dtype = dtype}, shift)) << dtype;
  }
}

TEST(Loader, HeadMayBeTiedRepeatedOrSeparate) {
  const std::vector<float> tied = LogitsOf({.config = SmallConfig()});
  const auto repeat = [](std::vector<FileTensor>& tensors) {
    FileTensor head = Named(tensors, "transformer.wte.weight");
    head.name = "lm_head.weight";
    tensors.push_back(head);
  };
  EXPECT_EQ(tied, LogitsOf({.config = SmallConfig()}, repeat));
  const SyntheticModel separate{.config = SmallConfig({{"tie_word_embeddings", false}})};
  EXPECT_NE(tied, LogitsOf(separate));
  EXPECT_EQ(ErrorAfter([](auto&) {}, separate), "");
  EXPECT_THAT(ErrorAfter([](auto& tensors) { Erase(tensors, "lm_head.weight"); }, separate),
              HasSubstr("'lm_head.weight': is missing, but config.json says tie_word_embeddings: false"));
  EXPECT_THAT(ErrorAfter([&](auto& tensors) {
                repeat(tensors);
                tensors.back().bytes[0] ^= 1;
              }),
              HasSubstr("'lm_head.weight': differs from transformer.wte.weight"));
}

TEST(Loader, AlibiAndPositionsMustAgree) {
  EXPECT_THAT(ErrorAfter([](auto& tensors) { Erase(tensors, "transformer.wpe.weight"); }),
              HasSubstr("'transformer.wpe.weight': is missing. If this is an ALiBi model"));
  EXPECT_THAT(ErrorAfter([](auto& tensors) { tensors.push_back(Bytes("transformer.wpe.weight", "F32", {64, 32}, 8192)); },
                         {.config = SmallConfig({{"alibi", true}})}),
              HasSubstr("config.json says alibi: true"));
}

TEST(Loader, EveryTensorIsNeeded) {
  for (const FileTensor& tensor : SyntheticTensors({.config = SmallConfig()})) {
    const std::string error = ErrorAfter([&](auto& tensors) { Erase(tensors, tensor.name); });
    EXPECT_THAT(error, HasSubstr("'" + tensor.name + "': is missing"));
  }
}

TEST(Loader, EveryShapeIsChecked) {
  for (const FileTensor& tensor : SyntheticTensors({.config = SmallConfig()})) {
    const std::string error = ErrorAfter([&](auto& tensors) {
      FileTensor& wrong = Named(tensors, tensor.name);
      wrong.shape[0] += 1;
      wrong.bytes.resize(wrong.bytes.size() + 4 * (wrong.shape.size() == 2 ? wrong.shape[1] : 1));
    });
    EXPECT_THAT(error, HasSubstr("'" + tensor.name + "': has shape ["));
  }
  // The same number of elements in another shape.
  EXPECT_THAT(ErrorAfter([](auto& tensors) { Named(tensors, "transformer.h.0.mlp.c_fc.weight").shape = {128, 32}; }),
              HasSubstr("has shape [128, 32]; config.json asks for [32, 128]"));
}

TEST(Loader, EveryTypeIsChecked) {
  for (const FileTensor& tensor : SyntheticTensors({.config = SmallConfig()})) {
    const std::string error = ErrorAfter([&](auto& tensors) { Named(tensors, tensor.name).dtype = "I32"; });
    EXPECT_THAT(error, HasSubstr("'" + tensor.name + "': has type I32; F32, F16"));
  }
  EXPECT_THAT(ErrorAfter([](auto& tensors) {
                FileTensor& norm = Named(tensors, "transformer.ln_f.bias");
                norm = Bytes(norm.name, "I8", {32}, 32);
              }),
              HasSubstr("has type I8; F32, F16 or BF16"));
}

TEST(Loader, Int8NeedsItsScale) {
  const SyntheticModel model{.config = SmallConfig(), .dtype = "I8"};
  const std::string scale = "transformer.h.1.attn.c_attn.weight.scale";
  EXPECT_EQ(ErrorAfter([](auto&) {}, model), "");
  EXPECT_THAT(ErrorAfter([&](auto& tensors) { Erase(tensors, scale); }, model), HasSubstr("'" + scale + "': is missing"));
  EXPECT_THAT(ErrorAfter([&](auto& tensors) { Named(tensors, scale) = Bytes(scale, "F32", {32}, 128); }, model),
              HasSubstr("'" + scale + "': has shape [32]; config.json asks for [96]"));
  EXPECT_THAT(ErrorAfter([&](auto& tensors) { Named(tensors, scale) = Bytes(scale, "F16", {96}, 192); }, model),
              HasSubstr("has type F16; F32 is needed"));
  EXPECT_THAT(ErrorAfter([&](auto& tensors) { Named(tensors, scale).bytes.replace(8, 4, "\xff\xff\xff\xff"); }, model),
              HasSubstr("element 2 is not finite"));
  EXPECT_THAT(ErrorAfter([](auto& tensors) { tensors.push_back(Bytes("transformer.wte.weight.scale", "F32", {257}, 1028)); }),
              HasSubstr("'transformer.wte.weight.scale': is not part of"));
}

TEST(Loader, UnexpectedTensorsAreRefused) {
  for (const char* name : {"transformer.h.2.ln_1.weight", "score.weight", "transformer.h.0.crossattention.c_attn.weight",
                           "transformer.h.2.attn.bias", "h.0.attn.bias"}) {
    EXPECT_THAT(ErrorAfter([&](auto& tensors) { tensors.push_back(Bytes(name, "F32", {1}, 4)); }),
                HasSubstr(std::string("'") + name + "': is not part of"));
  }
  EXPECT_THAT(ErrorAfter([](auto& tensors) { tensors.push_back(Bytes("wte.weight", "F32", {1}, 4)); }),
              HasSubstr("two models"));
  EXPECT_THAT(ErrorAfter([](auto& tensors) { tensors = {Bytes("x", "F32", {1}, 4)}; }), HasSubstr("no GPT-2 model"));
}

TEST(Loader, ConfigLargerThanTheFileAllocatesNothing) {
  const json huge = SmallConfig({{"n_embd", 1 << 18}, {"n_head", 1024}, {"n_layer", 4096}, {"vocab_size", 1 << 26}});
  TempDir directory;
  WriteModel(directory.path(), {.config = SmallConfig()});
  WriteFile(directory.file("config.json"), huge.dump());
  const auto runner = LoadFolder(directory.path(), TestOptions());
  EXPECT_THAT(std::string(runner.status().message()), HasSubstr("config.json asks for ["));
}

TEST(Loader, MissingFilesAreNamed) {
  TempDir directory;
  EXPECT_THAT(std::string(LoadFolder(directory.path(), TestOptions()).status().message()),
              HasSubstr(directory.file("config.json") + ": can't be opened: No such file"));
  WriteFile(directory.file("config.json"), SmallConfig().dump());
  EXPECT_THAT(std::string(LoadFolder(directory.path(), TestOptions()).status().message()),
              HasSubstr("neither model.safetensors nor"));
  std::filesystem::create_directory(directory.file("model.safetensors"));
  EXPECT_THAT(std::string(LoadFolder(directory.path(), TestOptions()).status().message()),
              HasSubstr("is not a regular file"));
  std::filesystem::remove(directory.file("model.safetensors"));
  ASSERT_EQ(::mkfifo(directory.file("model.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(std::string(LoadFolder(directory.path(), TestOptions()).status().message()),
              HasSubstr("is not a regular file"));
  WriteFile(directory.file("config.json"), std::string(2 << 20, ' '));
  EXPECT_THAT(std::string(LoadFolder(directory.path(), TestOptions()).status().message()),
              HasSubstr("at most 1048576 are allowed"));
}

class IndexTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteModel(directory_.path(), {.config = SmallConfig(), .shards = 2});
    index_ = json::parse(ReadFile(directory_.file("model.safetensors.index.json")));
    ASSERT_EQ(Error(), "");
  }
  std::string Error() {
    WriteFile(directory_.file("model.safetensors.index.json"), index_.dump());
    return std::string(LoadFolder(directory_.path(), TestOptions()).status().message());
  }
  TempDir directory_;
  json index_;
};

TEST_F(IndexTest, MustMatchTheFiles) {
  const json good = index_;
  index_["weight_map"]["transformer.extra"] = "model-00001-of-00002.safetensors";
  EXPECT_THAT(Error(), HasSubstr("'transformer.extra': is not in model-00001-of-00002.safetensors"));
  index_ = good;
  index_["weight_map"]["transformer.wte.weight"] = "model-00002-of-00002.safetensors";
  EXPECT_THAT(Error(), HasSubstr("'transformer.wte.weight': is not in model-00002"));
  index_ = good;
  index_["weight_map"].erase("transformer.wte.weight");
  EXPECT_THAT(Error(), HasSubstr("but not in the index"));
  index_ = good;
  index_["weight_map"]["transformer.wte.weight"] = "model-00003-of-00002.safetensors";
  EXPECT_THAT(Error(), HasSubstr("model-00003-of-00002.safetensors: can't be opened"));
}

TEST_F(IndexTest, NamesOnlyFilesInTheFolder) {
  for (const json& name : {json("../model.safetensors"), json("/etc/passwd"), json(""), json(".."), json(1), json(nullptr)}) {
    index_["weight_map"]["transformer.wte.weight"] = name;
    EXPECT_THAT(Error(), HasSubstr("no plain file name")) << name;
  }
  index_["weight_map"] = json::array();
  EXPECT_THAT(Error(), HasSubstr("needs 'weight_map'"));
}

TEST_F(IndexTest, OneTensorInTwoFilesIsRefused) {
  std::vector<FileTensor> tensors = SyntheticTensors({.config = SmallConfig()});
  WriteFile(directory_.file("model-00002-of-00002.safetensors"), SafetensorsBytes(tensors));
  EXPECT_THAT(Error(), HasSubstr("is also in " + directory_.file("model-00001-of-00002.safetensors")));
}

}  // namespace
}  // namespace precis::test
