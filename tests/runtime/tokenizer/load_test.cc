// Every form of a tokenizer's files loads; everything else is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "nlohmann/json.hpp"
#include "runtime/tokenizer.h"

namespace precis::runtime {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::filesystem::path kData = std::filesystem::path(PRECIS_SOURCE_DIR) / "tests/runtime/tokenizer/data";

std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

json SmallJson() { return json::parse(ReadText(kData / "small/tokenizer.json")); }

std::string ErrorOf(const json& definition) {
  const auto tokenizer = Tokenizer::FromTokenizerJson(definition.dump());
  if (tokenizer.ok()) return "loaded";
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokenizer.status().message());
}

std::string ErrorOfFiles(const std::string& vocab, const std::string& merges) {
  const auto tokenizer = Tokenizer::FromVocabAndMerges(vocab, merges);
  if (tokenizer.ok()) return "loaded";
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokenizer.status().message());
}

TEST(Load, EveryFormGivesTheSameTokenizer) {
  const std::string text = "The harbour town's 400 years: caf\u00e9, \u6771\u4eac, \U0001F600  <|endoftext|>\n\n\xFF";
  const auto json_form = Tokenizer::Load((kData / "small").string());
  ASSERT_TRUE(json_form.ok()) << json_form.status();
  const std::vector<int32_t> ids = (*json_form)->Encode(text);
  for (const char* folder : {"small_old", "small_files"}) {
    const auto other = Tokenizer::Load((kData / folder).string());
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ((*other)->Encode(text), ids) << folder;
    EXPECT_EQ((*other)->vocabulary_size(), (*json_form)->vocabulary_size());
    EXPECT_EQ((*other)->end_of_text(), (*json_form)->end_of_text());
  }
}

TEST(Load, NamesWhatIsMissing) {
  const auto nothing = Tokenizer::Load((kData / "no such folder").string());
  EXPECT_THAT(std::string(nothing.status().message()), HasSubstr("expected tokenizer.json, or vocab.json and merges.txt"));
  const auto folder = std::filesystem::temp_directory_path() / ("precis-load-test-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "vocab.json") << "{}";
  const auto no_merges = Tokenizer::Load(folder.string());
  EXPECT_THAT(std::string(no_merges.status().message()), HasSubstr("merges.txt: "));
  std::ofstream(folder / "tokenizer.json") << "{\"model\": ";
  const auto broken = Tokenizer::Load(folder.string());
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr((folder / "tokenizer.json").string() + ": not JSON"));
  std::filesystem::remove_all(folder);
}

TEST(TokenizerJson, RefusesOptionsByName) {
  struct Case {
    const char* pointer;
    json value;
    const char* error;
  };
  const json sequence = {{"type", "Sequence"}, {"pretokenizers", json::array()}};
  const Case cases[] = {
      {"/model/type", "Unigram", "model.type is \"Unigram\"; only \"BPE\" is supported"},
      {"/model/type", 7, "model.type is 7"},
      {"/model/byte_fallback", true, "model.byte_fallback is true"},
      {"/model/ignore_merges", true, "model.ignore_merges is true"},
      {"/model/dropout", 0.1, "model.dropout is 0.1"},
      {"/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix is \"##\""},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix is \"</w>\""},
      {"/model/vocab", json::array(), "model.vocab is of type array"},
      {"/model/merges", json::object(), "model.merges is of type object"},
      {"/model", nullptr, "model is null"},
      {"/normalizer", {{"type", "NFC"}}, "normalizer is \"NFC\""},
      {"/pre_tokenizer", nullptr, "pre_tokenizer is null"},
      {"/pre_tokenizer", sequence, "pre_tokenizer is \"Sequence\""},
      {"/pre_tokenizer/add_prefix_space", true, "pre_tokenizer.add_prefix_space is true"},
      {"/pre_tokenizer/use_regex", false, "pre_tokenizer.use_regex is false"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "post_processor is \"TemplateProcessing\""},
      {"/decoder", {{"type", "WordPiece"}}, "decoder is \"WordPiece\""},
      {"/added_tokens/0/special", false, "added_tokens[0] (\"<|endoftext|>\").special is false"},
      {"/added_tokens/0/id", "0", "added_tokens[0].id is \"0\""},
      {"/added_tokens/0/id", 5, "special token \"<|endoftext|>\" has the id 5, but 0 in the vocabulary"},
      {"/added_tokens/0/content", "", "added_tokens[0].content is \"\""},
  };
  for (const Case& c : cases) {
    json definition = SmallJson();
    definition[json::json_pointer(c.pointer)] = c.value;
    EXPECT_THAT(ErrorOf(definition), HasSubstr(std::string("tokenizer.json: ") + c.error)) << c.pointer;
  }
}

TEST(TokenizerJson, AcceptsWhatMakesNoDifference) {
  json definition = SmallJson();
  definition["truncation"] = {{"max_length", 5}};
  definition["model"]["dropout"] = 0.0;
  definition["model"]["unk_token"] = "<|endoftext|>";
  definition["model"].erase("type");
  definition["pre_tokenizer"].erase("use_regex");
  definition["post_processor"] = nullptr;
  definition.erase("decoder");
  EXPECT_EQ(ErrorOf(definition), "loaded");
}

TEST(TokenizerJson, RefusesTokensAndMergesThatAreNone) {
  struct Case {
    const char* pointer;
    json value;
    const char* error;
  };
  const Case cases[] = {
      {"/model/vocab/a", 1.5, "the id of token \"a\" is of type number; it must be an integer"},
      {"/model/vocab/a", {{"b", 1}}, "the id of token \"a\" is of type object"},
      {"/model/vocab/a", -1, "token \"a\" has the negative id -1"},
      {"/model/vocab/a", 1, "have the same id 1"},
      {"/model/vocab/a", 18446744073709551615u, "a token has the id 9223372036854775807"},
      {"/model/merges/3", "a b c", "model.merges[3] is neither"},
      {"/model/merges/3", {"a", "b", "c"}, "model.merges[3] is neither"},
      {"/model/merges/3", {"a"}, "model.merges[3] is neither"},
      {"/model/merges/3", {"a", 1}, "model.merges[3] is neither"},
      {"/model/merges/3", nullptr, "model.merges[3] is neither"},
      {"/model/merges/3", {"a", "nowhere"}, "merge 4 (\"a\" + \"nowhere\"): token \"nowhere\" is not in the vocabulary"},
  };
  for (const Case& c : cases) {
    json definition = SmallJson();
    definition[json::json_pointer(c.pointer)] = c.value;
    EXPECT_THAT(ErrorOf(definition), HasSubstr(c.error)) << c.pointer;
  }
}

TEST(TokenizerJson, RefusesATokenizerThatCannotEncodeEveryByte) {
  json definition = SmallJson();
  definition["model"]["merges"] = json::array();
  definition["model"]["vocab"].erase("A");
  EXPECT_THAT(ErrorOf(definition), HasSubstr("the vocabulary has no token \"A\" for byte 0x41"));
}

TEST(TokenizerJson, RefusesSpecialTokensThatTextCouldMake) {
  json definition = SmallJson();
  json special = definition["added_tokens"][0];
  special["content"] = "A";
  special["id"] = definition["model"]["vocab"]["A"];
  definition["added_tokens"].push_back(special);
  EXPECT_THAT(ErrorOf(definition), HasSubstr("token \"A\" (byte 0x41) must not be special"));

  definition = SmallJson();
  const std::string merged =
      definition["model"]["merges"][0][0].get<std::string>() + definition["model"]["merges"][0][1].get<std::string>();
  special["content"] = merged;
  special["id"] = definition["model"]["vocab"][merged];
  definition["added_tokens"].push_back(special);
  EXPECT_THAT(ErrorOf(definition), HasSubstr("is special and must not come from ordinary text"));
}

TEST(TokenizerJson, AddsSpecialTokensOutsideTheVocabulary) {
  json definition = SmallJson();
  json special = definition["added_tokens"][0];
  special["content"] = "<|summary of \u00e9|>";
  special["id"] = 1003;
  definition["added_tokens"].push_back(special);
  const auto tokenizer = Tokenizer::FromTokenizerJson(definition.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 1004);
  EXPECT_EQ((*tokenizer)->TokenBytes(1003), "<|summary of \u00e9|>");
  EXPECT_EQ((*tokenizer)->TokenBytes(1001), "");  // nobody's
}

TEST(VocabAndMerges, RefusesBrokenFiles) {
  const std::string vocab = ReadText(kData / "small_files/vocab.json");
  const std::string merges = ReadText(kData / "small_files/merges.txt");
  EXPECT_EQ(ErrorOfFiles(vocab, merges), "loaded");
  EXPECT_EQ(ErrorOfFiles(vocab, ""), "loaded");
  EXPECT_THAT(ErrorOfFiles("", merges), HasSubstr("vocab.json: not JSON (at byte "));
  EXPECT_THAT(ErrorOfFiles(vocab + "x", merges), HasSubstr("vocab.json: not JSON"));
  EXPECT_THAT(ErrorOfFiles("[1]", merges), HasSubstr("vocab.json: the content is of type array"));
  EXPECT_THAT(ErrorOfFiles("[" + vocab + "]", merges), HasSubstr("vocab.json: the content is of type array"));
  EXPECT_THAT(ErrorOfFiles("{}", merges), HasSubstr("vocab.json with merges.txt: the vocabulary has no token"));
  EXPECT_THAT(ErrorOfFiles("{\"a\": 1, \"a\": 2}", ""), HasSubstr("token \"a\" appears twice"));
  EXPECT_THAT(ErrorOfFiles(vocab, "#version: 0.2\na b c\n"), HasSubstr("merges.txt: line 2 is \"a b c\""));
  EXPECT_THAT(ErrorOfFiles(vocab, "ab\n"), HasSubstr("merges.txt: line 1"));
  EXPECT_THAT(ErrorOfFiles(vocab, "a \n"), HasSubstr("merges.txt: line 1"));
  EXPECT_THAT(ErrorOfFiles(vocab, "\xFF \xFE\n"), HasSubstr("\\xff"));
}

TEST(VocabAndMerges, TakesLinesOfEitherKindAndMergesOfTheNumberSign) {
  const std::string vocab = ReadText(kData / "small_files/vocab.json");
  const auto unix_lines = Tokenizer::FromVocabAndMerges(vocab, "#version: 0.2\nh e\ni n\n");
  const auto windows_lines = Tokenizer::FromVocabAndMerges(vocab, "#version: 0.2\r\nh e\r\ni n");
  ASSERT_TRUE(unix_lines.ok() && windows_lines.ok()) << windows_lines.status();
  EXPECT_EQ((*unix_lines)->Encode("hein hein"), (*windows_lines)->Encode("hein hein"));
  EXPECT_EQ((*unix_lines)->Encode("hein").size(), 2u);
}

}  // namespace
}  // namespace precis::runtime
