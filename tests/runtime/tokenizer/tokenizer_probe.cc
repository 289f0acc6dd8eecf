// A tokenizer behind a pipe, for tests and benchmarks in other languages.
//
//   tokenizer_probe MODE DIR   reads texts; answers each by MODE:
//       encode      its token ids
//       words       the lengths of its words
//       roundtrip   its tokens decoded
//       repair      itself with what is no UTF-8 replaced
//       stream      its tokens through the streaming decoder
//   tokenizer_probe bench DIR  reads texts, then encodes them all; prints what it took as JSON
//
// A text is a little-endian uint32 of its length and its bytes. An answer is the same, where the ids and
// lengths are int32.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer.h"
#include "runtime/tokenizer/pretokenizer.h"

namespace {

using precis::runtime::Tokenizer;

std::optional<std::string> ReadText() {
  uint32_t size = 0;
  if (std::fread(&size, sizeof(size), 1, stdin) != 1) return std::nullopt;
  std::string text(size, '\0');
  if (std::fread(text.data(), 1, size, stdin) != size) return std::nullopt;
  return text;
}

void Answer(const void* data, size_t size) {
  const auto length = static_cast<uint32_t>(size);
  std::fwrite(&length, sizeof(length), 1, stdout);
  std::fwrite(data, 1, size, stdout);
  std::fflush(stdout);
}

std::vector<int32_t> WordLengths(std::string_view text) {
  std::vector<int32_t> lengths;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = precis::runtime::WordEnd(text, pos);
    lengths.push_back(static_cast<int32_t>(end - pos));
    pos = end;
  }
  return lengths;
}

std::string Stream(const Tokenizer& tokenizer, std::string_view text) {
  precis::runtime::StreamingDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : tokenizer.Encode(text)) streamed += decoder.Push(id);
  return streamed + decoder.Finish();
}

using Mode = void (*)(const Tokenizer&, const std::string&);

void AnswerNumbers(const std::vector<int32_t>& numbers) { Answer(numbers.data(), numbers.size() * sizeof(int32_t)); }

void AnswerText(const std::string& text) { Answer(text.data(), text.size()); }

// How to answer a text, or null.
Mode FindMode(std::string_view name) {
  if (name == "encode") return [](const Tokenizer& t, const std::string& text) { AnswerNumbers(t.Encode(text)); };
  if (name == "words") return [](const Tokenizer&, const std::string& text) { AnswerNumbers(WordLengths(text)); };
  if (name == "roundtrip") {
    return [](const Tokenizer& t, const std::string& text) { AnswerText(t.DecodeBytes(t.Encode(text))); };
  }
  if (name == "repair") {
    return [](const Tokenizer&, const std::string& text) { AnswerText(precis::runtime::ReplaceInvalidUtf8(text)); };
  }
  if (name == "stream") return [](const Tokenizer& t, const std::string& text) { AnswerText(Stream(t, text)); };
  return nullptr;
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Bench(const Tokenizer& tokenizer, double load_seconds) {
  std::vector<std::string> texts;
  size_t bytes = 0;
  while (std::optional<std::string> text = ReadText()) {
    bytes += text->size();
    texts.push_back(*std::move(text));
  }
  size_t tokens = 0;
  const std::clock_t processor_start = std::clock();
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& text : texts) tokens += tokenizer.Encode(text).size();
  const double seconds = SecondsSince(start);
  const double processor_seconds = static_cast<double>(std::clock() - processor_start) / CLOCKS_PER_SEC;
  std::printf("{\"seconds\": %.6f, \"processor_seconds\": %.6f, \"bytes\": %zu, \"tokens\": %zu, \"load_seconds\": %.6f}\n",
              seconds, processor_seconds, bytes, tokens, load_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc == 3 ? argv[1] : "";
  const Mode mode = FindMode(name);
  if (mode == nullptr && name != "bench") {
    std::fprintf(stderr, "usage: tokenizer_probe encode|words|roundtrip|repair|stream|bench DIR\n");
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::Load(argv[2]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  const double load_seconds = SecondsSince(start);
  if (mode == nullptr) {
    Bench(**tokenizer, load_seconds);
    return 0;
  }
  while (const std::optional<std::string> text = ReadText()) mode(**tokenizer, *text);
  return 0;
}
