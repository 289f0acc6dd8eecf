#ifndef PRECIS_CLIENT_EVAL_SCORE_PORTER_STEMMER_H_
#define PRECIS_CLIENT_EVAL_SCORE_PORTER_STEMMER_H_

#include <string>

namespace precis::eval {

// Porter's algorithm (M. Porter, "An algorithm for suffix stripping", 1980) with the extensions of NLTK's PorterStemmer, mode
// NLTK_EXTENSIONS, which is its default and what rouge-score uses. `word` is lower-case ASCII letters and digits.
std::string PorterStem(std::string word);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_PORTER_STEMMER_H_
