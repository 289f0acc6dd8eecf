// Documents in pieces (TooLong::kChunk), on the fake model.
#include <cctype>
#include <random>
#include <thread>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "runtime/engine/prompt.h"
#include "runtime/engine/split_document.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace precis::testing {
namespace {

using runtime::Engine;
using runtime::EngineOptions;
using runtime::Request;
using runtime::TooLong;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Split(const std::string& text, int most) {
  FakeTokenizer tokenizer;
  std::vector<std::string> pieces;
  for (const auto& tokens : runtime::SplitDocument(tokenizer, text, most)) pieces.push_back(tokenizer.DecodeBytes(tokens));
  return pieces;
}

TEST(SplitDocumentTest, CutsWhereParagraphsSentencesOrWordsEnd) {
  EXPECT_THAT(Split("short", 10), ElementsAre("short"));
  EXPECT_THAT(Split("", 10), ElementsAre());
  EXPECT_THAT(Split("One two.\n\nThree. Four five.", 17), ElementsAre("One two.\n\n", "Three. Four five."));
  EXPECT_THAT(Split("One two three. Four five six seven", 20), ElementsAre("One two three.", " Four five six seven"));
  EXPECT_THAT(Split("wordwordwo wordwordword", 14), ElementsAre("wordwordwo", " wordwordword"));
  EXPECT_THAT(Split("aaaaaaaaaa", 5), ElementsAre("aaaaa", "aaaaa"));
}

TEST(SplitDocumentTest, PiecesAreWholeShortAndEven) {
  std::mt19937 random(7);
  const char* const words[] = {"word", " ", " ", ". ", "\n", "\n\n", "日本語", "😀", "é", "longerword", "! "};
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (int j = random() % 400; j >= 0; --j) text += words[random() % 11];
    const int most = 4 + static_cast<int>(random() % 60);
    const auto pieces = Split(text, most);
    EXPECT_EQ(absl::StrJoin(pieces, ""), text);
    for (const std::string& piece : pieces) {
      EXPECT_LE(piece.size(), static_cast<size_t>(most));
      EXPECT_FALSE(piece.empty());
      size_t error;
      EXPECT_TRUE(runtime::IsValidUtf8(piece, &error)) << piece;
    }
    EXPECT_LE(pieces.size(), text.size() / (most * 3 / 8.0) + 2);
  }
  // What is no UTF-8 is cut too.
  EXPECT_EQ(absl::StrJoin(Split(std::string(1000, '\x80'), 7), ""), std::string(1000, '\x80'));
}

class ChunkTest : public EngineFixture {
 protected:
  static constexpr int kContext = 128;

  void Start(EngineOptions options = {}, int context = kContext) {
    FakeRunner::Options model = Letters(-.9f);
    model.context_tokens = context;
    StartEngine(model, options);
  }
  static std::string Document(int words) {
    std::mt19937 random(words);
    std::string text;
    for (int i = 0; i < words; ++i) {
      for (int j = 2 + random() % 7; j > 0; --j) text += static_cast<char>('a' + random() % 26);
      text += random() % 9 == 0 ? ". " : random() % 40 == 0 ? "\n\n" : " ";
    }
    return text;
  }
  static Request Ask(const std::string& document, TooLong too_long = TooLong::kChunk) {
    Request request;
    request.document = document;
    request.options.max_new_tokens = 16;
    request.too_long = too_long;
    return request;
  }

  // As the documentation says it, by single requests.
  std::string ByHand(const std::string& document, int* chunks) {
    std::string text = document;
    while (true) {
      const auto pieces = Split(text, engine_->catalog().all_checkpoints()[0]->runner->context_tokens() - 16 - 7);
      std::vector<std::string> summaries;
      for (const std::string& piece : pieces) {
        const std::string summary = Answer(Ask(piece, TooLong::kReject))->summary;
        if (!summary.empty()) summaries.push_back(summary);
      }
      text = absl::StrJoin(summaries, "\n");
      if (pieces.size() == 1) return text;
      *chunks += static_cast<int>(pieces.size());
    }
  }
};

TEST_F(ChunkTest, IsTheSummaryOfTheSummaries) {
  Start();
  for (const int words : {30, 200, 2000}) {
    const std::string document = Document(words);
    int chunks = 0;
    const std::string expected = ByHand(document, &chunks);
    const auto call = Send(engine_.get(), Ask(document));
    const auto& result = call->Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->summary, expected);
    EXPECT_EQ(call->streamed(), expected);
    EXPECT_EQ(result->accounting.chunks, chunks);
    EXPECT_GT(chunks, 1);
    EXPECT_LE(result->summary.size(), result->token_ids.size());  // a token a byte, leading space dropped
    EXPECT_FALSE(call->called_after_done());
  }
}

TEST_F(ChunkTest, WithBeamsToo) {
  Start();
  Request request = Ask(Document(300));
  request.options.num_beams = 3;
  const auto first = Answer(request), again = Answer(request);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->summary, again->summary);
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
}

TEST_F(ChunkTest, ADocumentThatFitsIsSummarisedAtOnce) {
  Start();
  const auto result = Answer(Ask("Not long."));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->accounting.chunks, 0);
  EXPECT_EQ(result->summary, Answer(Ask("Not long.", TooLong::kReject))->summary);
}

TEST_F(ChunkTest, OneRequestToTheOutsideAndOneAccount) {
  Start();
  const std::string document = Document(100);
  const auto result = Answer(Ask(document));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto& accounting = result->accounting;
  EXPECT_EQ(telemetry_.count("finished OK max_new_tokens") + telemetry_.count("finished OK end_of_text"), 1);
  EXPECT_EQ(telemetry_.count("first"), 1);
  EXPECT_EQ(telemetry_.count("scheduled"), 1);
  EXPECT_EQ(telemetry_.count("prefix prompt"), accounting.prompt_tokens);
  EXPECT_GT(accounting.prompt_tokens, static_cast<int>(document.size()) + accounting.chunks * 7);
  EXPECT_GT(accounting.new_tokens, static_cast<int>(result->token_ids.size()));
  EXPECT_LE(accounting.kv_cache_peak_bytes, kContext / 16 * 4096);
  EXPECT_GE(accounting.total, accounting.time_to_first_token);
  EXPECT_GT(accounting.time_to_first_token, accounting.queue);
  EXPECT_EQ(accounting.truncated_tokens, 0);
}

TEST_F(ChunkTest, SaysWhenTheContextIsTooSmallForTheSummaries) {
  Start();
  Request request = Ask(Document(100));
  request.options.max_new_tokens = 25;
  const auto result = Answer(request);
  EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("Ask for at most 24 new tokens"));
  request.options.max_new_tokens = 24;
  EXPECT_TRUE(Answer(request).ok());
}

TEST_F(ChunkTest, CancelEndsAllPiecesAtOnce) {
  Start();
  GateSteps();
  const auto call = Send(engine_.get(), Ask(Document(1000)));
  gate_.AwaitWaiting();
  EXPECT_FALSE(call->done());
  engine_->Cancel(call->id);
  gate_.Open();
  EXPECT_TRUE(absl::IsCancelled(call->Wait().status())) << call->Wait().status();
  EXPECT_EQ(telemetry_.count("finished CANCELLED "), 1);
  EXPECT_EQ(telemetry_.count("cancelled prefill"), 1);
  engine_->Cancel(call->id);  // long gone
  const auto load = engine_->load();
  EXPECT_EQ(load.running + load.waiting[1] + load.kv_blocks_used, 0);
  EXPECT_TRUE(Answer(Ask(Document(100))).ok());
  EXPECT_FALSE(call->called_after_done());
}

TEST_F(ChunkTest, CancelAtAnyTimeAnswersOnceAndLeavesNothing) {
  Start();
  std::mt19937 random(3);
  for (int i = 0; i < 40; ++i) {
    const auto call = Send(engine_.get(), Ask(Document(400)));
    absl::SleepFor(absl::Microseconds(random() % 6000));
    engine_->Cancel(call->id);
    const auto& result = call->Wait();
    EXPECT_TRUE(result.ok() || absl::IsCancelled(result.status())) << result.status();
    const auto load = engine_->load();
    EXPECT_EQ(load.running + load.waiting[1] + load.kv_blocks_used, 0);
    EXPECT_FALSE(call->called_after_done());
  }
}

TEST_F(ChunkTest, DrainingStillAnswersIt) {
  Start();
  GateSteps();
  const auto call = Send(engine_.get(), Ask(Document(1000)));
  gate_.AwaitWaiting();
  std::thread drain([&] { engine_->Drain(absl::Seconds(60)); });
  while (!Send(engine_.get(), Ask("A question."))->WaitFor(absl::Milliseconds(1))) {
  }
  gate_.Open();
  drain.join();
  EXPECT_TRUE(call->done());
  EXPECT_TRUE(call->Wait().ok()) << call->Wait().status();
  EXPECT_TRUE(absl::IsUnavailable(Answer(Ask(Document(1000))).status()));
}

TEST_F(ChunkTest, TheEndOfTheDrainEndsIt) {
  Start();
  GateSteps();
  const auto call = Send(engine_.get(), Ask(Document(1000)));
  gate_.AwaitWaiting();
  std::thread open([&] {
    absl::SleepFor(absl::Milliseconds(30));
    gate_.Open();
  });
  engine_->Drain(absl::ZeroDuration());
  open.join();
  EXPECT_TRUE(absl::IsUnavailable(call->Wait().status())) << call->Wait().status();
}

TEST_F(ChunkTest, TheEngineCanBeDestroyedInTheMiddle) {
  for (int i = 0; i < 10; ++i) {
    Start();
    const auto call = Send(engine_.get(), Ask(Document(400)));
    absl::SleepFor(absl::Microseconds(500 * i));
    engine_.reset();
    EXPECT_TRUE(call->done());
  }
}

TEST_F(ChunkTest, TheDeadlineIsThatOfTheWhole) {
  Start();
  runner_->on_step = [](auto) {
    absl::SleepFor(absl::Milliseconds(2));
    return absl::OkStatus();
  };
  Request request = Ask(Document(3000));
  request.deadline = absl::Now() + absl::Milliseconds(300);
  const auto result = Answer(request);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("pieces of the document were summarised. Give a later deadline"));
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
  EXPECT_EQ(telemetry_.count("finished DEADLINE_EXCEEDED "), 1);
}

TEST_F(ChunkTest, BoundsHoldForTheWhole) {
  EngineOptions options;
  options.max_queued_tokens = 8000;
  Start(options);
  EXPECT_TRUE(absl::IsResourceExhausted(Answer(Ask(Document(3000))).status()));
  EXPECT_EQ(telemetry_.count("rejected queue_tokens"), 1);
  GateSteps();
  const auto call = Send(engine_.get(), Ask(Document(1000)));  // about 6,000
  gate_.AwaitWaiting();
  EXPECT_TRUE(absl::IsResourceExhausted(Answer(Ask(Document(1000))).status()));
  gate_.Open();
  EXPECT_TRUE(call->Wait().ok()) << call->Wait().status();
  EXPECT_TRUE(Answer(Ask(Document(1000))).ok());
  // A piece must fit the cache.
  options = {};
  options.kv_cache_bytes = 4096 * 7;
  Start(options);
  EXPECT_TRUE(absl::IsResourceExhausted(Answer(Ask(Document(1000))).status()));
  EXPECT_EQ(telemetry_.count("rejected memory"), 1);
}

TEST_F(ChunkTest, AFailedStepIsTheAnswer) {
  Start();
  runner_->on_step = [this](auto) { return runner_->steps == 20 ? absl::InternalError("broken") : absl::OkStatus(); };
  const auto call = Send(engine_.get(), Ask(Document(1000)));
  EXPECT_EQ(call->Wait().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(telemetry_.count("finished INTERNAL "), 1);
  EXPECT_TRUE(Answer(Ask(Document(100))).ok());
  EXPECT_FALSE(call->called_after_done());
}

TEST_F(ChunkTest, TenMegabytes) {
  EngineOptions options;
  options.max_queued_tokens = int64_t{1} << 24;
  Start(options, 1024);
  const std::string document = Document(1900000);
  ASSERT_GT(document.size(), 10'000'000u);
  const auto result = Answer(Ask(document));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->accounting.chunks, 10000);
  EXPECT_LE(result->token_ids.size(), 16u);
  EXPECT_EQ(engine_->load().kv_blocks_used, 0);
}

}  // namespace
}  // namespace precis::testing
