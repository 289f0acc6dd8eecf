// The same request gives the same tokens from the same logits, bit for bit, whatever else is in the batch, in whatever order, with or
// without prefix cache, at every chunk size, through preemption, with cancellations in the middle, on one thread or two. On the fake
// model and on small models of random weights through the CPU runner.
#include <algorithm>
#include <random>

#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "tests/runtime/engine/engine_harness.h"
#include "tests/runtime/model/synthetic_model.h"
#include "tests/support/capturing_runner.h"
#include "tests/support/fake_model.h"

namespace precis::testing {
namespace {

using runtime::Catalog;
using runtime::Engine;
using runtime::EngineOptions;
using runtime::Request;

struct Setting {
  std::string name;
  int chunk = 512, rows = 256;
  bool prefix_cache = true;
  int spare_pages = -1;  // beyond what the largest request needs; -1: plenty
  double cancelled = 0;  // share of requests that are cancelled somewhere
  int threads = 2;
  bool homogeneous = false;  // each backend is a batch group
};

const Setting kSettings[] = {
    {"chunk16", 16},
    {"chunk64", 64},
    {"chunk512", 512},
    {"few_rows", 512, 9},
    {"no_prefix_cache", 64, 256, false},
    {"preemption", 64, 256, true, 2},
    {"preemption_no_cache", 48, 256, false, 1},
    {"cancellations", 64, 256, true, 4, .4},
    {"one_thread", 100, 256, true, 8, .2, 1},
    {"homogeneous", 64, 256, true, 8, .2, 2, true},
};

constexpr int kRequests = 24;

class InvarianceTest : public ::testing::Test {
 protected:
  virtual std::unique_ptr<Catalog> Load(int threads) = 0;

  void MakeRequests(const std::vector<std::string>& backends) {
    std::string documents[3];
    for (auto& document : documents) {
      for (int i = 0; i < 150; ++i) document += static_cast<char>('a' + random_() % 26);
    }
    for (int i = 0; i < kRequests; ++i) {
      Request request;
      request.document = documents[random_() % 3].substr(0, 5 + random_() % 140);
      request.attention_backend = backends[i % backends.size()];
      request.options.max_new_tokens = 4 + static_cast<int>(random_() % 24);
      request.options.seed = i;
      if (i % 2 == 1) request.options.temperature = 1;
      if (i % 4 == 3) request.options.top_p = .9f;
      if (i % 4 == 2) {
        request.options.num_beams = 2 + static_cast<int>(random_() % 7);
        request.options.early_stopping = static_cast<runtime::EarlyStopping>(random_() % 3);
      }
      request.priority = static_cast<runtime::Priority>(random_() % 3);
      requests_.push_back(request);
    }
  }

  std::unique_ptr<Engine> Start(const Setting& setting) {
    auto catalog = Load(setting.threads);
    int64_t page_bytes = 0;
    for (const auto* checkpoint : catalog->all_checkpoints()) {
      page_bytes = std::max(page_bytes, checkpoint->runner->page_bytes());
    }
    CapturingRunner::Wrap(*catalog, &record_);
    EngineOptions options;
    options.max_step_tokens = setting.chunk;
    options.max_batch_rows = setting.rows;
    options.prefix_cache = setting.prefix_cache;
    // The largest request needs 9 pages of its prompt and 3 of each of 8 beams.
    options.kv_cache_bytes = page_bytes * (setting.spare_pages < 0 ? 1000 : 33 + setting.spare_pages);
    auto engine = Engine::Create(std::move(catalog), options, &telemetry_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  // Each request with the engine to itself.
  void RunAlone() {
    const auto engine = Start({"alone", 512, 9, /*prefix_cache=*/false});
    for (const Request& request : requests_) {
      const auto result = Send(engine.get(), request)->Wait();
      ASSERT_TRUE(result.ok()) << result.status();
      alone_.push_back(result->token_ids);
    }
    alone_logits_ = record_.Take();
    alone_beams_ = record_.TakeBeams();
    EXPECT_GT(alone_beams_.size(), 100u);
  }

  void RunTogether(const Setting& setting) {
    SCOPED_TRACE(setting.name);
    const auto engine = Start(setting);
    std::vector<int> order(kRequests);
    for (int i = 0; i < kRequests; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random_);
    std::vector<std::shared_ptr<Call>> calls(kRequests);
    std::vector<std::shared_ptr<Call>> doomed;
    const int64_t mixed_before = telemetry_.count("mixed steps");
    for (int i : order) {
      Request request = requests_[i];
      if (setting.homogeneous) request.batch_group = std::hash<std::string>()(request.attention_backend);
      calls[i] = Send(engine.get(), request);
      if (std::bernoulli_distribution(setting.cancelled)(random_)) doomed.push_back(calls[i]);
    }
    for (const auto& call : doomed) {
      call->WaitForDeltas(static_cast<int>(random_() % 4));
      engine->Cancel(call->id);
    }
    int completed = 0;
    for (int i = 0; i < kRequests; ++i) {
      const auto& result = calls[i]->Wait();
      if (!result.ok()) {
        EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
        continue;
      }
      ++completed;
      EXPECT_EQ(result->token_ids, alone_[i]) << "request " << i;
    }
    EXPECT_GE(completed, kRequests - static_cast<int>(doomed.size()));
    for (const auto& [key, bits] : record_.Take()) {
      EXPECT_TRUE(bits == alone_logits_[key]) << "logits of request " << key.first << ", token " << key.second;
    }
    for (const std::string& logits : record_.TakeBeams()) EXPECT_TRUE(alone_beams_.contains(logits)) << "logits of a beam";
    engine->Drain(absl::Seconds(60));
    EXPECT_EQ(engine->load().kv_blocks_used, 0);
    if (setting.homogeneous) {
      EXPECT_EQ(telemetry_.count("mixed steps"), mixed_before);
    }
  }

  void RunAll() {
    RunAlone();
    for (const Setting& setting : kSettings) RunTogether(setting);
    // The settings did what they are for.
    EXPECT_GT(telemetry_.count("preempted"), 0);
    EXPECT_GT(telemetry_.count("prefix cached"), 0);
    EXPECT_GT(telemetry_.count("mixed steps"), 0);
  }

  std::mt19937 random_{20260101};
  std::vector<Request> requests_;
  LogitsRecord record_;
  CountingTelemetry telemetry_;
  std::vector<std::vector<int32_t>> alone_;
  std::map<LogitsRecord::Key, std::vector<uint32_t>> alone_logits_;
  std::set<std::string> alone_beams_;
};

class FakeInvarianceTest : public InvarianceTest {
 protected:
  std::unique_ptr<Catalog> Load(int) override {
    FakeRunner::Options learned, alibi;
    learned.seed = 1;
    alibi.seed = 2;
    alibi.page_bytes = 4160;
    return FakeCatalog({{"learned", learned, {"flash", "standard"}}, {"alibi", alibi, {"flash_alibi"}}}, nullptr);
  }
};

TEST_F(FakeInvarianceTest, TwoBackendsOfOneCheckpointAndAnotherCheckpoint) {
  MakeRequests({"flash", "standard", "flash_alibi"});
  RunAll();
}

class CpuInvarianceTest : public InvarianceTest {
 protected:
  void WriteCheckpoint(const std::string& directory, const std::string& dtype, nlohmann::json changes) {
    changes["n_positions"] = 256;
    test::SyntheticModel model;
    model.config = test::SmallConfig(changes);
    model.dtype = dtype;
    test::WriteModel(directory, model);
    test::WriteByteTokenizer(directory);
  }
  std::unique_ptr<Catalog> Load(int threads) override {
    runtime::LoadOptions options;
    options.isa = kernels::BestCpuIsa();
    options.threads = threads;
    options.device = device_;
    auto catalog = Catalog::Load(specs_, options);
    EXPECT_TRUE(catalog.ok()) << catalog.status();
    return *std::move(catalog);
  }
  std::string device_ = "cpu";
  test::TempDir learned_, alibi_;
  std::vector<runtime::ModelSpec> specs_;
};

TEST_F(CpuInvarianceTest, F32LearnedAndAlibi) {
  WriteCheckpoint(learned_.path(), "F32", {});
  WriteCheckpoint(alibi_.path(), "F32", {{"alibi", true}});
  specs_ = {{"m", learned_.path()}, {"m", alibi_.path()}};
  MakeRequests({"flash", "standard", "flash_alibi", "standard_alibi"});
  RunAll();
}

TEST_F(CpuInvarianceTest, Bf16) {
  WriteCheckpoint(learned_.path(), "BF16", {});
  specs_ = {{"m", learned_.path()}};
  MakeRequests({"flash", "standard"});
  RunAll();
}

TEST_F(CpuInvarianceTest, Int8) {
  WriteCheckpoint(learned_.path(), "I8", {});
  specs_ = {{"m", learned_.path()}};
  MakeRequests({"flash", "standard"});
  RunAll();
}

}  // namespace
}  // namespace precis::testing
