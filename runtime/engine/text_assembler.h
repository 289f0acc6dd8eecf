#ifndef PRECIS_RUNTIME_ENGINE_TEXT_ASSEMBLER_H_
#define PRECIS_RUNTIME_ENGINE_TEXT_ASSEMBLER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/request.h"
#include "runtime/tokenizer.h"

namespace precis::runtime {

// Makes the summary out of generated tokens, piece by piece. The deltas joined are always the summary so far:
//  - whole code points only (StreamingDecoder);
//  - white space (ASCII) in front of the first other character is dropped: models begin with a space;
//  - text that can still turn out to be the beginning of a stop sequence is held back, so that none ever leaks.
// A stop sequence counts if it ends in the text of token min_new_tokens or a later one. Not thread-safe.
class TextAssembler {
 public:
  // `tokenizer` and `options` must outlive it.
  TextAssembler(const Tokenizer& tokenizer, const GenerationOptions& options)
      : decoder_(tokenizer), options_(options) {}

  // The next token. Appends to *delta what became certain. True if a stop sequence was completed: the summary ends before it.
  bool Push(int32_t token, std::string* delta);
  // No token follows: appends to *delta what was held back. Not after Push returned true.
  void Finish(std::string* delta);

  const std::string& summary() const { return summary_; }

 private:
  bool FindStop(size_t* position) const;
  size_t HeldBackBytes() const;
  void Emit(size_t bytes, std::string* delta);

  StreamingDecoder decoder_;
  const GenerationOptions& options_;
  std::string summary_;
  std::string pending_;   // decoded, not emitted
  size_t immune_ = 0;     // bytes of pending_ in which no stop sequence may end
  int tokens_ = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_TEXT_ASSEMBLER_H_
