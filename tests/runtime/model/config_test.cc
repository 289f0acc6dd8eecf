#include "runtime/model/config_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::runtime {
namespace {

using nlohmann::json;
using testing::HasSubstr;

absl::StatusOr<CheckpointConfig> Parse(const json& changes, std::initializer_list<const char*> without = {}) {
  json config = test::SmallConfig(changes);
  for (const char* name : without) config.erase(name);
  return ParseConfig(config.dump(), "dir/config.json");
}

std::string ErrorOf(const json& changes, std::initializer_list<const char*> without = {}) {
  const auto config = Parse(changes, without);
  return config.ok() ? "accepted" : std::string(config.status().message());
}

TEST(Config, ReadsThePublishedGpt2) {
  const auto config = ParseConfig(R"({
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 50256,
    "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
    "resid_pdrop": 0.1, "summary_activation": null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true,
    "summary_type": "cls_index", "summary_use_proj": true, "vocab_size": 50257,
    "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}}})",
                                  "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.n_layer, 12);
  EXPECT_EQ(config->model.head_dim(), 64);
  EXPECT_EQ(config->model.n_inner, 3072);
  EXPECT_EQ(config->model.eos_token_id, 50256);
  EXPECT_FLOAT_EQ(config->model.layer_norm_epsilon, 1e-5f);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FALSE(config->model.alibi);
}

// What the published medium, large and XL files say beside the sizes.
TEST(Config, TakesOptionsOfThePublishedFiles) {
  EXPECT_EQ(ErrorOf({{"n_special", 0},
                     {"predict_special_tokens", true},
                     {"output_past", true},
                     {"summary_proj_to_labels", true},
                     {"_num_labels", 1},
                     {"id2label", {{"0", "LABEL_0"}}},
                     {"torch_dtype", "float32"},
                     {"transformers_version", "4.57.6"},
                     {"use_cache", true}}),
            "accepted");
}

TEST(Config, ReadsOptions) {
  const auto config = Parse({{"n_inner", 40},
                             {"alibi", true},
                             {"scale_attn_weights", false},
                             {"scale_attn_by_inverse_layer_idx", true},
                             {"reorder_and_upcast_attn", true},
                             {"tie_word_embeddings", false},
                             {"layer_norm_epsilon", 1e-3},
                             {"add_cross_attention", false},
                             {"_commit_hash", "x"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.n_inner, 40);
  EXPECT_TRUE(config->model.alibi);
  EXPECT_FALSE(config->model.scale_attn_weights);
  EXPECT_TRUE(config->model.scale_attn_by_inverse_layer_idx);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_FLOAT_EQ(config->model.layer_norm_epsilon, 1e-3f);
}

TEST(Config, TakesTheOtherNamesOfSizes) {
  const auto config = Parse({{"num_hidden_layers", 5}, {"hidden_size", 64}, {"num_attention_heads", 2}, {"max_position_embeddings", 9}},
                            {"n_layer", "n_embd", "n_head", "n_positions"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.n_layer, 5);
  EXPECT_EQ(config->model.n_embd, 64);
  EXPECT_THAT(ErrorOf({{"num_hidden_layers", 5}}), HasSubstr("n_layer is 2 but num_hidden_layers is 5"));
}

TEST(Config, MapsActivations) {
  const std::pair<const char*, kernels::Activation> activations[] = {
      {"gelu_new", kernels::Activation::kGeluTanh}, {"gelu_pytorch_tanh", kernels::Activation::kGeluTanh},
      {"gelu_fast", kernels::Activation::kGeluTanh}, {"gelu", kernels::Activation::kGeluErf},
      {"relu", kernels::Activation::kRelu}, {"silu", kernels::Activation::kSilu},
      {"swish", kernels::Activation::kSilu}, {"quick_gelu", kernels::Activation::kQuickGelu}};
  for (const auto& [name, activation] : activations) {
    const auto config = Parse({{"activation_function", name}});
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->activation, activation) << name;
  }
  EXPECT_THAT(ErrorOf({{"activation_function", "mish"}}), HasSubstr("'mish' is not supported; supported are gelu_new"));
}

TEST(Config, EndOfTextOutsideOfTheVocabularyCountsAsNone) {
  EXPECT_EQ(Parse({{"eos_token_id", 50256}})->model.eos_token_id, -1);
  EXPECT_EQ(Parse({{"eos_token_id", nullptr}})->model.eos_token_id, -1);
  EXPECT_EQ(Parse({{"eos_token_id", {7}}})->model.eos_token_id, 7);
  EXPECT_THAT(ErrorOf({{"eos_token_id", "x"}}), HasSubstr("eos_token_id"));
  EXPECT_THAT(ErrorOf({{"eos_token_id", {1, 2}}}), HasSubstr("eos_token_id is [1,2]"));
}

TEST(Config, EverySizeMustBeGivenAndInRange) {
  for (const char* name : {"n_layer", "n_head", "n_embd", "n_positions", "vocab_size"}) {
    EXPECT_THAT(ErrorOf(json::object(), {name}), HasSubstr(std::string(name) + " is missing"));
    for (const json& bad : {json(0), json(-1), json(1.5), json("12"), json(nullptr), json(1000000000), json(true)}) {
      EXPECT_THAT(ErrorOf({{name, bad}}), HasSubstr(std::string(name) + " is " + bad.dump())) << bad;
    }
  }
  EXPECT_THAT(ErrorOf({{"n_inner", 0}}), HasSubstr("n_inner is 0"));
}

TEST(Config, HeadsMustFit) {
  EXPECT_THAT(ErrorOf({{"n_head", 5}}), HasSubstr("no multiple of n_head 5"));
  EXPECT_THAT(ErrorOf({{"n_embd", 12}, {"n_head", 4}}), HasSubstr("n_embd / n_head is 3; an even"));
  EXPECT_THAT(ErrorOf({{"n_embd", 1032}, {"n_head", 4}}), HasSubstr("n_embd / n_head is 258"));
  EXPECT_EQ(ErrorOf({{"n_embd", 1024}, {"n_head", 4}}), "accepted");
}

TEST(Config, RefusesWhatItDoesNotSupportByName) {
  EXPECT_THAT(ErrorOf({{"add_cross_attention", true}}), HasSubstr("option 'add_cross_attention' = true is not supported"));
  EXPECT_THAT(ErrorOf({{"is_encoder_decoder", true}}), HasSubstr("'is_encoder_decoder'"));
  EXPECT_THAT(ErrorOf({{"quantization_config", {{"bits", 4}}}}), HasSubstr("'quantization_config'"));
  EXPECT_THAT(ErrorOf({{"pruned_heads", {{"0", {1}}}}}), HasSubstr("'pruned_heads'"));
  EXPECT_THAT(ErrorOf({{"rotary_dim", 32}}), HasSubstr("'rotary_dim' = 32"));
  EXPECT_THAT(ErrorOf({{"model_type", "gptj"}}), HasSubstr("model_type is 'gptj'"));
  EXPECT_THAT(ErrorOf({{"architectures", {"GPT2ForSequenceClassification"}}}), HasSubstr("GPT2ForSequenceClassification"));
  EXPECT_THAT(ErrorOf({{"alibi", 1}}), HasSubstr("alibi is 1; true or false"));
  EXPECT_THAT(ErrorOf({{"layer_norm_epsilon", 0}}), HasSubstr("layer_norm_epsilon is 0"));
  EXPECT_THAT(ErrorOf({{"layer_norm_epsilon", "x"}}), HasSubstr("layer_norm_epsilon"));
}

TEST(Config, RefusesWhatIsNoConfig) {
  for (const char* text : {"", "[]", "{", "null", "\xff"}) {
    const auto config = ParseConfig(text, "dir/config.json");
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("dir/config.json: "));
  }
  const auto twice = ParseConfig(R"({"n_layer":1,"n_layer":2})", "c");
  EXPECT_THAT(std::string(twice.status().message()), HasSubstr("'n_layer' is given twice"));
  std::string deep = R"({"a":)";
  for (int i = 0; i < 100000; ++i) deep += '[';
  EXPECT_THAT(std::string(ParseConfig(deep, "c").status().message()), HasSubstr("nested deeper"));
}

TEST(FolderOptionsFile, ReadsBothTexts) {
  const auto both = ParseFolderOptions(R"({"prompt_prefix":"Text: ","prompt_suffix":"\nSummary:"})", "precis.json");
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->prefix, "Text: ");
  EXPECT_EQ(both->suffix, "\nSummary:");
  EXPECT_EQ(both->context_tokens, 0);
  EXPECT_EQ(ParseFolderOptions(R"({"context_tokens":77})", "precis.json")->context_tokens, 77);
  const auto none = ParseFolderOptions("{}", "precis.json");
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->prefix, "");
  EXPECT_EQ(none->suffix, "\nTL;DR:");
}

TEST(FolderOptionsFile, RefusesOtherKeysAndTypes) {
  EXPECT_THAT(std::string(ParseFolderOptions(R"({"sufix":"x"})", "d/precis.json").status().message()),
              HasSubstr("d/precis.json: unknown key 'sufix'; known are"));
  EXPECT_THAT(std::string(ParseFolderOptions(R"({"prompt_suffix":3})", "p").status().message()),
              HasSubstr("prompt_suffix is 3"));
  EXPECT_THAT(std::string(ParseFolderOptions(R"({"context_tokens":0})", "p").status().message()),
              HasSubstr("context_tokens is 0; an integer from 1"));
}

}  // namespace
}  // namespace precis::runtime
