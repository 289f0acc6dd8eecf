#ifndef PRECIS_RUNTIME_ENGINE_PIECE_TELEMETRY_H_
#define PRECIS_RUNTIME_ENGINE_PIECE_TELEMETRY_H_

#include "runtime/telemetry.h"

namespace precis::runtime {

// What is told of the pieces of a ChunkedRequest: tokens, pages and preemptions, which are as of any other request, and nothing that counts requests.
class PieceTelemetry final : public Telemetry {
 public:
  // `whole` must outlive it.
  explicit PieceTelemetry(Telemetry* whole) : whole_(*whole) {}
  void OnPrefixCache(const RequestLabels& labels, int prompt_tokens, int cached_tokens) override {
    whole_.OnPrefixCache(labels, prompt_tokens, cached_tokens);
  }
  void OnToken(const RequestLabels& labels, absl::Duration since_previous) override { whole_.OnToken(labels, since_previous); }
  void OnPreempted(const RequestLabels& labels) override { whole_.OnPreempted(labels); }

 private:
  Telemetry& whole_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_PIECE_TELEMETRY_H_
