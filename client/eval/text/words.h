#ifndef PRECIS_CLIENT_EVAL_TEXT_WORDS_H_
#define PRECIS_CLIENT_EVAL_TEXT_WORDS_H_

#include <string>
#include <string_view>
#include <vector>

namespace precis::eval {

struct Word {
  std::string text;      // as written
  std::string lower;     // by Unicode's simple case mapping
  bool capital = false;  // begins with an upper-case or title-case letter
  bool begins_sentence = false;  // the first word, or after . ! ? or a newline
  bool number = false;   // begins with a digit; then inner '.' and ',' before a digit belong to it
  // Nothing but white space, hyphens or apostrophes lies between this word and the one before in the same sentence.
  bool adjacent = false;
};

// Runs of letters, marks and digits of any script.
std::vector<Word> SplitWords(std::string_view text);

// Sentences end at . ! ? (with quotes and brackets that follow) before white space, not after a one-letter word or a common title
// ("Mr."), and at newlines. Pieces of `text`, stripped, none empty.
std::vector<std::string_view> SplitSentences(std::string_view text);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_TEXT_WORDS_H_
