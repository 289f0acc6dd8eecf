// The scheduler's rules one by one, under a virtual clock.
#include "runtime/scheduler/scheduler.h"

#include <chrono>
#include <iostream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace precis::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SchedulerTest : public ::testing::Test {
 protected:
  void Start(int pages, SchedulerOptions options = {}) {
    scheduler_.reset();
    cache_ = std::make_unique<KvCache>(std::vector<int64_t>{100}, KvCache::Options{pages * 100, true, nullptr});
    scheduler_ = std::make_unique<Scheduler>(options, cache_.get());
  }
  Sequence* Add(int prompt, int max_new, Priority priority = Priority::kNormal, int first_token = -1) {
    SequenceSpec spec;
    // Prompts share nothing unless they are given the same first token.
    spec.prompt.assign(prompt, first_token >= 0 ? first_token : 1000 + next_++);
    spec.max_new_tokens = max_new;
    spec.priority = priority;
    RejectReason reason;
    auto sequence = scheduler_->Enqueue(spec, now_, &reason);
    return sequence.ok() ? *sequence : nullptr;
  }
  // Plans and completes a step; every sampled token is 7.
  Plan Step() {
    Plan plan = scheduler_->MakePlan(now_);
    for (const PlannedRow& row : plan.rows) {
      scheduler_->Complete(row);
      if (row.sample) scheduler_->Append(row.sequence, 7);
    }
    now_ += absl::Milliseconds(1);
    return plan;
  }
  static std::vector<std::string> Rows(const Plan& plan) {
    std::vector<std::string> rows;
    for (const auto& row : plan.rows) {
      rows.push_back(absl::StrCat(row.sequence->id, ":", row.position, "+", row.count, row.sample ? " sample" : "",
                                  row.replay ? " replay" : ""));
    }
    return rows;
  }

  absl::Time now_ = absl::UnixEpoch();
  int next_ = 0;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, ChunksPrefillAndDecodesInEveryStep) {
  Start(100, {.max_step_tokens = 40});
  Add(20, 10);
  Add(50, 10);
  EXPECT_THAT(Rows(Step()), ElementsAre("1:0+20 sample", "2:0+20"));
  EXPECT_THAT(Rows(Step()), ElementsAre("1:20+1 sample", "2:20+30 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("1:21+1 sample", "2:50+1 sample"));
}

TEST_F(SchedulerTest, BatchGroupsNeverShareAStepAndTakeTurns) {
  Start(100);
  Add(20, 10)->spec.batch_group = 7;
  Add(20, 10)->spec.batch_group = 3;
  Add(20, 10);
  Add(20, 10)->spec.batch_group = 7;
  // The first in line decides who may come in; after that all groups go on, each in its own steps.
  EXPECT_THAT(Rows(Step()), ElementsAre("1:0+20 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("2:0+20 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("1:20+1 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("3:0+20 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("2:20+1 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("1:21+1 sample", "4:0+20 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("3:20+1 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("2:21+1 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("1:22+1 sample", "4:20+1 sample"));
}

TEST_F(SchedulerTest, AGroupThatCannotGoOnLeavesItsTurn) {
  Start(4, {.growth_reserve = 0});
  Add(40, 20)->spec.batch_group = 1;  // three of the four pages
  Step();
  Add(40, 20)->spec.batch_group = 2;  // finds no room
  EXPECT_THAT(Rows(Step()), ElementsAre("1:40+1 sample"));
  EXPECT_THAT(Rows(Step()), ElementsAre("1:41+1 sample"));
}

TEST_F(SchedulerTest, PrefixCacheLeavesTheLastTokenToCompute) {
  Start(100);
  Sequence* first = Add(48, 10, Priority::kNormal, 5);
  Step();
  scheduler_->Finish(first, now_);
  Add(48, 10, Priority::kNormal, 5);
  EXPECT_THAT(Rows(Step()), ElementsAre("2:32+16 sample"));
  Add(49, 10, Priority::kNormal, 5);
  EXPECT_THAT(Rows(Step()), ElementsAre("2:48+1 sample", "3:48+1 sample"));
}

TEST_F(SchedulerTest, GrowthPreemptsTheWorstAndReplayFollowsThePrompt) {
  Start(4, {.growth_reserve = 0});
  Add(17, 40);
  Sequence* second = Add(17, 40);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(Step().rows.size(), 2u);  // both hold two pages, 32 tokens
  const Plan plan = Step();
  EXPECT_THAT(plan.preempted, ElementsAre(second));
  EXPECT_THAT(Rows(plan), ElementsAre("1:32+1 sample"));
  EXPECT_THAT(second->pages, IsEmpty());
  EXPECT_EQ(second->preemptions, 1);
  scheduler_->Finish(scheduler_->running_sequences()[0], now_);
  EXPECT_THAT(Rows(Step()), ElementsAre("2:16+1"));  // its first page was still cached
  EXPECT_THAT(Rows(Step()), ElementsAre("2:17+16 sample replay"));
  EXPECT_THAT(Rows(Step()), ElementsAre("2:33+1 sample"));
}

TEST_F(SchedulerTest, BeamsShareAndCopyOnWrite) {
  Start(100, {.max_step_tokens = 40});
  Sequence* sequence = Add(20, 40);
  sequence->spec.beams = 3;
  Plan plan = scheduler_->MakePlan(now_);
  EXPECT_THAT(Rows(plan), ElementsAre("1:0+20 sample"));
  scheduler_->Complete(plan.rows[0]);
  scheduler_->Advance(sequence, {{0, 7}, {0, 8}, {0, 9}}, now_);
  EXPECT_EQ(sequence->held_pages, 2);  // shared by all
  plan = scheduler_->MakePlan(now_);
  EXPECT_EQ(plan.rows.size(), 3u);
  EXPECT_EQ(plan.copies.size(), 2u);  // the last to write keeps the page
  EXPECT_EQ(sequence->held_pages, 4);
  for (const PlannedRow& row : plan.rows) scheduler_->Complete(row);
  // The first dies out, the second has two children.
  const std::vector<int32_t> pages = sequence->beams[0].pages;
  scheduler_->Advance(sequence, {{1, 1}, {2, 2}, {1, 3}}, now_);
  EXPECT_EQ(sequence->pages, pages);
  EXPECT_EQ(sequence->beams[1].pages, pages);
  EXPECT_THAT(sequence->beams[1].generated, ElementsAre(8, 3));
  EXPECT_EQ(sequence->held_pages, 3);
  scheduler_->Finish(sequence, now_);
  EXPECT_EQ(cache_->live_bytes(), 0);
  EXPECT_EQ(cache_->Check(), nullptr);
}

TEST_F(SchedulerTest, AWideSequenceWaitsForItsRowsAndIsNotOvertaken) {
  Start(100, {.max_batch_rows = 4});
  Add(10, 10);
  Step();
  Add(10, 10)->spec.beams = 4;
  Add(10, 10);
  EXPECT_THAT(Rows(Step()), ElementsAre("1:10+1 sample"));
  scheduler_->Finish(scheduler_->running_sequences()[0], now_);
  EXPECT_THAT(Rows(scheduler_->MakePlan(now_)), ElementsAre("2:0+10 sample"));
}

TEST_F(SchedulerTest, GrowthReserveKeepsRoom) {
  Start(4, {.growth_reserve = 1});
  Add(17, 40);
  Add(17, 40);
  EXPECT_THAT(Rows(Step()), ElementsAre("1:0+17 sample"));
}

TEST_F(SchedulerTest, AHigherClassTakesMemoryFromLowerOnes) {
  Start(4, {.priority_aging = absl::Seconds(1)});
  Sequence* low = Add(60, 4, Priority::kLow);
  Step();
  Sequence* high = Add(30, 4, Priority::kHigh);
  const Plan plan = Step();
  EXPECT_THAT(plan.preempted, ElementsAre(low));
  EXPECT_THAT(plan.admitted, ElementsAre(high));
  EXPECT_TRUE(high->running);
  // Having waited for two classes, the first is not pushed aside again.
  scheduler_->Finish(high, now_);
  now_ += absl::Seconds(2);
  Step();
  Add(30, 4, Priority::kHigh);
  EXPECT_THAT(Step().preempted, IsEmpty());
}

TEST_F(SchedulerTest, AgingRaisesByAClass) {
  Start(100, {.max_batch_rows = 1, .priority_aging = absl::Seconds(1)});
  Sequence* running = Add(10, 4);
  Step();
  Sequence* low = Add(10, 4, Priority::kLow);
  now_ += absl::Milliseconds(900);
  Sequence* normal = Add(10, 4);
  EXPECT_EQ(scheduler_->waiting(Priority::kLow), 1);
  scheduler_->Finish(running, now_);
  now_ += absl::Milliseconds(200);  // low has waited more than a second and came first
  EXPECT_THAT(Step().admitted, ElementsAre(low));
  scheduler_->Finish(low, now_);
  EXPECT_THAT(Step().admitted, ElementsAre(normal));
}

TEST_F(SchedulerTest, WhatCanNeverFitIsRefusedAtOnce) {
  Start(4);
  EXPECT_NE(Add(60, 4), nullptr);
  EXPECT_EQ(Add(60, 5), nullptr);
}

TEST_F(SchedulerTest, CancelEndsTheWaitingNowAndTheRunningAtReap) {
  Start(100, {.max_batch_rows = 1});
  Sequence* running = Add(10, 4);
  Step();
  Sequence* waiting = Add(10, 4);
  EXPECT_EQ(scheduler_->Cancel(waiting->id, now_).get(), waiting);
  EXPECT_EQ(scheduler_->Cancel(running->id, now_), nullptr);
  EXPECT_GT(cache_->live_bytes(), 0);
  const auto ended = scheduler_->Reap(now_);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].get(), running);
  EXPECT_EQ(cache_->live_bytes(), 0);
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerTest, AccountsPageSeconds) {
  Start(100);
  Sequence* sequence = Add(20, 4);
  scheduler_->MakePlan(now_);
  now_ += absl::Seconds(3);
  const auto ended = scheduler_->Finish(sequence, now_);
  EXPECT_DOUBLE_EQ(ended->page_seconds, 2 * 3);
  EXPECT_EQ(ended->peak_pages, 2);
}

// Not a bound on the machine, but on the order of growth: a step beside 1,000 waiting costs about what it costs beside none.
TEST_F(SchedulerTest, StepOverheadDoesNotGrowWithTheQueue) {
  const auto measure = [&](int waiting) {
    Start(100000, {.max_batch_rows = 64, .max_queued_requests = 100000, .max_queued_tokens = 1 << 30});
    for (int i = 0; i < 64 + waiting; ++i) Add(100, 1000);
    for (int i = 0; i < 50; ++i) Step();
    double best = 1e9;
    for (int i = 0; i < 50; ++i) {
      const auto start = std::chrono::steady_clock::now();
      scheduler_->Reap(now_);
      Step();
      best = std::min(best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    EXPECT_EQ(scheduler_->running(), 64);
    return best;
  };
  const double none = measure(0), thousand = measure(1000);
  std::cout << "64 running: " << none << " us a step; with 1,000 waiting: " << thousand << " us\n";
  EXPECT_LT(thousand, 5 * none + 50);
}

}  // namespace
}  // namespace precis::runtime
