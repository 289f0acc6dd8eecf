#ifndef PRECIS_TESTS_RUNTIME_ENGINE_ENGINE_FIXTURE_H_
#define PRECIS_TESTS_RUNTIME_ENGINE_ENGINE_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "tests/runtime/engine/engine_harness.h"
#include "tests/support/fake_model.h"

namespace precis::testing {

// An engine on one checkpoint of the fake model, whose steps can be held.
class EngineFixture : public ::testing::Test {
 protected:
  void StartEngine(const FakeRunner::Options& model, const runtime::EngineOptions& options,
                   const std::vector<std::string>& backends = {"flash", "standard"}) {
    std::vector<FakeRunner*> runners;
    auto catalog = FakeCatalog({{"checkpoint", model, backends}}, &runners);
    runner_ = runners[0];
    auto engine = runtime::Engine::Create(std::move(catalog), options, &telemetry_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  // Every step waits at the gate. Before the first request only.
  void GateSteps() {
    runner_->on_step = [this](auto) {
      gate_.Pass();
      return absl::OkStatus();
    };
  }
  static FakeRunner::Options Letters(float end_of_text_bias) {
    FakeRunner::Options options;
    options.letters_only = true;
    options.end_of_text_bias = end_of_text_bias;
    return options;
  }
  absl::StatusOr<runtime::Result> Answer(const runtime::Request& request) { return Send(engine_.get(), request)->Wait(); }

  CountingTelemetry telemetry_;
  Gate gate_;
  FakeRunner* runner_ = nullptr;
  std::unique_ptr<runtime::Engine> engine_;
};

}  // namespace precis::testing

#endif  // PRECIS_TESTS_RUNTIME_ENGINE_ENGINE_FIXTURE_H_
