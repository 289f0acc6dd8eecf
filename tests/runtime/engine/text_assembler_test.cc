#include "runtime/engine/text_assembler.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_model.h"

namespace precis::runtime {
namespace {

using ::testing::ElementsAre;

// Pushes the bytes of `text` one token each; the deltas, the last of them from Finish unless a stop sequence came.
std::vector<std::string> Deltas(const std::string& text, const GenerationOptions& options, std::string* summary,
                                bool* stopped) {
  static const testing::FakeTokenizer* const tokenizer = new testing::FakeTokenizer;
  TextAssembler assembler(*tokenizer, options);
  std::vector<std::string> deltas;
  *stopped = false;
  for (char c : text) {
    std::string delta;
    *stopped = assembler.Push(static_cast<unsigned char>(c), &delta);
    deltas.push_back(delta);
    if (*stopped) break;
  }
  if (!*stopped) assembler.Finish(&deltas.emplace_back());
  *summary = assembler.summary();
  return deltas;
}

struct Outcome {
  std::string summary;
  bool stopped;
};

Outcome Assemble(const std::string& text, const GenerationOptions& options) {
  Outcome outcome;
  std::string joined;
  for (const auto& delta : Deltas(text, options, &outcome.summary, &outcome.stopped)) joined += delta;
  EXPECT_EQ(joined, outcome.summary);
  return outcome;
}

TEST(TextAssemblerTest, DropsLeadingWhiteSpaceOnly) {
  EXPECT_EQ(Assemble(" \n\tA b \n c ", {}).summary, "A b \n c ");
  EXPECT_EQ(Assemble(" \n ", {}).summary, "");
}

TEST(TextAssemblerTest, NeverEmitsHalfACodePoint) {
  std::string summary;
  bool stopped;
  EXPECT_THAT(Deltas("a\xC3\xA9", {}, &summary, &stopped), ElementsAre("a", "", "\xC3\xA9", ""));
  EXPECT_THAT(Deltas("a\xE2\x82", {}, &summary, &stopped), ElementsAre("a", "", "", "\xEF\xBF\xBD"));
}

TEST(TextAssemblerTest, HoldsBackWhatCanBecomeAStopSequence) {
  std::string summary;
  bool stopped;
  GenerationOptions options{.stop_sequences = {"END", "E."}};
  EXPECT_THAT(Deltas("xENEND", options, &summary, &stopped), ElementsAre("x", "", "", "EN", "", ""));
  EXPECT_TRUE(stopped);
  EXPECT_EQ(summary, "xEN");
  EXPECT_THAT(Deltas("xE", options, &summary, &stopped), ElementsAre("x", "", "E"));
  EXPECT_FALSE(stopped);
  EXPECT_EQ(Assemble("aE.b", options).summary, "a");
}

TEST(TextAssemblerTest, StopSequencesSeeTheLeadingWhiteSpace) {
  const auto outcome = Assemble("\nHello", {.stop_sequences = {"\n"}});
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.summary, "");
}

TEST(TextAssemblerTest, StopSequencesAreHeldOffUntilMinNewTokens) {
  EXPECT_EQ(Assemble("a.b.c.d", {.min_new_tokens = 3, .stop_sequences = {"."}}).summary, "a.b");
  EXPECT_EQ(Assemble("a.b.c.d", {.min_new_tokens = 4, .stop_sequences = {"."}}).summary, "a.b");
  EXPECT_EQ(Assemble("a.b.c.d", {.min_new_tokens = 5, .stop_sequences = {"."}}).summary, "a.b.c");
  // Begins before, ends after.
  EXPECT_EQ(Assemble("abcd", {.min_new_tokens = 2, .stop_sequences = {"bc"}}).summary, "a");
}

// Against the plain definition: the text up to the first stop sequence.
TEST(TextAssemblerTest, RandomTextsAndStopSequences) {
  std::mt19937 random(5);
  const auto word = [&](int longest) {
    std::string text;
    for (int i = 1 + random() % longest; i > 0; --i) text += "ab "[random() % 3];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    GenerationOptions options;
    for (int i = random() % 4; i > 0; --i) options.stop_sequences.push_back(word(5));
    const std::string text = word(40);
    // The stop sequence that is complete first; of those, the one that begins first.
    size_t end = std::string::npos, begin = text.size();
    for (size_t length = 1; length <= text.size() && end == std::string::npos; ++length) {
      for (const auto& stop : options.stop_sequences) {
        const size_t found = text.substr(0, length).find(stop);
        if (found == std::string::npos) continue;
        end = length;
        begin = std::min(begin, found);
      }
    }
    const size_t first = std::min(text.find_first_not_of(' '), begin);
    const auto outcome = Assemble(text, options);
    EXPECT_EQ(outcome.stopped, end != std::string::npos) << text;
    EXPECT_EQ(outcome.summary, text.substr(first, begin - first)) << text;
  }
}

}  // namespace
}  // namespace precis::runtime
