#include "runtime/model/catalog.h"

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/model/runner_harness.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::test {
namespace {

using runtime::Catalog;
using runtime::ModelSpec;
using testing::HasSubstr;

class CatalogTest : public testing::Test {
 protected:
  std::string Folder(const std::string& name, const nlohmann::json& changes = nlohmann::json::object()) {
    const std::string path = directory_.file(name);
    std::filesystem::create_directory(path);
    WriteModel(path, {.config = SmallConfig(changes)});
    WriteByteTokenizer(path);
    return path;
  }
  std::string Alibi(const std::string& name) { return Folder(name, {{"alibi", true}}); }

  static std::string ErrorOf(const std::vector<ModelSpec>& specs) {
    const auto catalog = Catalog::Load(specs, TestOptions());
    return catalog.ok() ? "" : std::string(catalog.status().message());
  }

  TempDir directory_;
};

TEST_F(CatalogTest, PairsBackendsWithCheckpoints) {
  const std::vector<ModelSpec> specs = {{"news", Folder("learned")}, {"other", Folder("second")}, {"news", Alibi("alibi/")}};
  const auto loaded = Catalog::Load(specs, TestOptions());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Catalog& catalog = **loaded;
  ASSERT_EQ(catalog.models().size(), 2u);
  ASSERT_EQ(catalog.all_checkpoints().size(), 3u);
  const std::pair<const char*, const char*> served[] = {
      {"standard", "learned"}, {"flash", "learned"}, {"standard_alibi", "alibi"}, {"flash_alibi", "alibi"}};
  for (const auto& [backend, checkpoint] : served) {
    for (const char* model : {"news", ""}) {
      const auto choice = catalog.Resolve(model, backend);
      ASSERT_TRUE(choice.ok()) << choice.status();
      EXPECT_EQ(choice->model->name, "news");
      EXPECT_EQ(choice->checkpoint->name, checkpoint);
      EXPECT_EQ(choice->variant->name, backend);
      EXPECT_EQ(catalog.all_checkpoints()[choice->checkpoint_index], choice->checkpoint);
    }
  }
  EXPECT_EQ(catalog.Resolve("", "")->variant->name, "flash");
  EXPECT_EQ(catalog.Resolve("other", "")->checkpoint->name, "second");
}

TEST_F(CatalogTest, ResolveSaysWhatThereIs) {
  const std::vector<ModelSpec> specs = {{"news", Folder("a")}, {"long", Alibi("b")}};
  const auto catalog = Catalog::Load(specs, TestOptions());
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  const absl::Status unknown = (*catalog)->Resolve("nope", "flash").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("'nope'; loaded are news, long"));
  const absl::Status backend = (*catalog)->Resolve("news", "paged").status();
  EXPECT_EQ(backend.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(backend.message()), HasSubstr("'paged'; known are standard, standard_alibi, flash, flash_alibi"));
  const absl::Status mismatch = (*catalog)->Resolve("news", "flash_alibi").status();
  EXPECT_EQ(mismatch.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(mismatch.message()), HasSubstr("'flash_alibi' here; served are news: standard, flash"));
  // Without a model, the first that serves the backend.
  EXPECT_EQ((*catalog)->Resolve("", "flash_alibi")->model->name, "long");
  EXPECT_EQ((*catalog)->Resolve("long", "")->variant->name, "flash_alibi");
}

TEST_F(CatalogTest, RefusesTwoCheckpointsForOneBackend) {
  EXPECT_THAT(ErrorOf({{"news", Folder("a")}, {"news", Folder("b")}}),
              HasSubstr("model 'news': checkpoints a and b both serve standard"));
}

TEST_F(CatalogTest, ErrorsNameModelAndFile) {
  EXPECT_THAT(ErrorOf({}), HasSubstr("no model is given"));
  EXPECT_THAT(ErrorOf({{"", Folder("a")}}), HasSubstr("has no name"));
  EXPECT_THAT(ErrorOf({{"news", directory_.file("absent")}}),
              HasSubstr("model 'news': " + directory_.file("absent/config.json") + ": can't be opened"));
  const std::string folder = Folder("b");
  std::filesystem::resize_file(folder + "/model.safetensors", 5000);
  EXPECT_THAT(ErrorOf({{"news", folder}}), HasSubstr("model 'news': " + folder + "/model.safetensors: tensor '"));
}

TEST_F(CatalogTest, AGpuHasItsOwnKindOfKeysAndValues) {
  runtime::LoadOptions options = TestOptions();
  options.device = "simt";
  options.kv_cache = kernels::DType::kBf16;
  const auto catalog = Catalog::Load({{"news", Folder("a")}}, options);
  ASSERT_FALSE(catalog.ok());
  EXPECT_THAT(std::string(catalog.status().message()), HasSubstr("--kv-cache-dtype=bf16 with --device=simt"));
}

TEST_F(CatalogTest, TokenizerMustFitTheVocabulary) {
  EXPECT_THAT(ErrorOf({{"news", Folder("a", {{"vocab_size", 200}, {"eos_token_id", 199}})}}),
              HasSubstr("the tokenizer has 257 tokens, but config.json says vocab_size 200"));
  const std::string folder = Folder("b");
  std::filesystem::remove(folder + "/vocab.json");
  EXPECT_THAT(ErrorOf({{"news", folder}}), HasSubstr(folder));
}

TEST_F(CatalogTest, PromptTemplateComesFromTheFolder) {
  const std::string plain = Folder("plain"), other = Folder("other");
  WriteFile(other + "/precis.json", R"({"prompt_prefix":"<","prompt_suffix":">","context_tokens":20})");
  const std::vector<ModelSpec> specs = {{"plain", plain}, {"other", other}};
  const auto catalog = Catalog::Load(specs, TestOptions());
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  EXPECT_EQ((*catalog)->Resolve("plain", "")->checkpoint->prompt_suffix, "\nTL;DR:");
  EXPECT_EQ((*catalog)->Resolve("other", "")->checkpoint->prompt_prefix, "<");
  EXPECT_EQ((*catalog)->Resolve("other", "")->checkpoint->prompt_suffix, ">");
  EXPECT_EQ((*catalog)->Resolve("other", "")->checkpoint->runner->context_tokens(), 20);
  EXPECT_GT((*catalog)->Resolve("plain", "")->checkpoint->runner->context_tokens(), 20);
  WriteFile(other + "/precis.json", R"({"prompt":">"})");
  EXPECT_THAT(ErrorOf({{"other", other}}), HasSubstr(other + "/precis.json: unknown key 'prompt'"));
}

}  // namespace
}  // namespace precis::test
