#ifndef PRECIS_RUNTIME_SAMPLING_BEAM_SEARCH_H_
#define PRECIS_RUNTIME_SAMPLING_BEAM_SEARCH_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "runtime/request.h"

namespace precis::runtime {

// The next token of a beam, and the beam that it goes on from.
struct BeamChoice {
  int parent;
  int32_t token;
};

// Beam search as transformers does it (GenerationMixin._beam_search, version 4.57), for one request: every step takes the 2 * num_beams best
// continuations of all beams by the sum of log probabilities. Those that end the text finish a hypothesis if they are among the first
// num_beams; the best num_beams others go on. Hypotheses are ordered by sum / length^length_penalty, the length counted with the
// token that ends the text. The penalties of sampler.h apply to the log probabilities. Ties go to the earlier beam and the lowest id.
// A pure function of what it is given; knows nothing of pages. Not thread-safe.
class BeamSearch {
 public:
  // `options` must outlive it. `end_of_text`: -1 if the checkpoint has none.
  BeamSearch(const GenerationOptions& options, int32_t end_of_text);

  // `logits[i]`: of beam i, [vocabulary], changed in place; `generated[i]`: its tokens. The first time there is one beam, the prompt.
  // True if the search goes on with next(): num_beams of them. False: it has ended with summary().
  bool Advance(absl::Span<const absl::Span<float>> logits, absl::Span<const int32_t> prompt,
               absl::Span<const absl::Span<const int32_t>> generated);

  const std::vector<BeamChoice>& next() const { return next_; }
  // The best hypothesis, without the token that ends the text.
  const std::vector<int32_t>& summary() const { return finished_.front().tokens; }
  bool ended_by_text() const { return finished_.front().end_of_text; }
  double score() const { return finished_.front().score; }

 private:
  struct Candidate {
    float score;
    BeamChoice choice;
  };
  struct Hypothesis {
    std::vector<int32_t> tokens;
    bool end_of_text;
    double score;
  };

  void FindCandidates(absl::Span<const absl::Span<float>> logits);
  void Finish(const Candidate& candidate, absl::Span<const int32_t> tokens);
  bool CanImprove() const;
  double Normalised(float score, int length) const;

  const GenerationOptions& options_;
  const int32_t end_of_text_;
  int length_ = 0;                     // tokens of each beam
  std::vector<float> scores_;          // of the running beams, best first
  std::vector<Candidate> candidates_;  // best first
  std::vector<BeamChoice> next_;
  std::vector<Hypothesis> finished_;   // best first, at most num_beams
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SAMPLING_BEAM_SEARCH_H_
