#ifndef PRECIS_CLIENT_EVAL_REPORT_STUDY_H_
#define PRECIS_CLIENT_EVAL_REPORT_STUDY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/data/dataset.h"
#include "client/eval/run/answer.h"
#include "client/eval/score/pair_scorer.h"

namespace precis::eval {

// What a run's folder holds.
struct Study {
  Json run;  // run.json
  std::vector<std::string> backends;
  std::vector<Document> documents;
  std::vector<Answer> answers;  // the last one of each (phase, backend, document)
  struct Block {
    std::string backend;
    double seconds = 0;
    std::vector<int64_t> documents;
  };
  std::vector<Block> blocks;
};

// NOT_FOUND if there is no run; a run that was stopped is read as far as it came.
absl::StatusOr<Study> LoadStudy(const std::string& folder);

// A backend or a baseline with its text for each document that all systems have.
struct System {
  std::string name;
  bool baseline = false;
  int color = 0;
  std::vector<std::string> texts;    // parallel to Scored::documents
  std::vector<PairScores> scores;    // likewise
};

struct Scored {
  std::vector<int64_t> documents;  // indices into the study's: with a reference, and answered by every backend
  std::vector<System> systems;     // the backends, then lead-3 and oracle
};

// Sentences are put on lines of their own for ROUGE-Lsum. `lowercase`: all text is lower-cased first (BLEU and chrF distinguish case).
Scored ScoreStudy(const Study& study, bool lowercase, int threads);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_REPORT_STUDY_H_
