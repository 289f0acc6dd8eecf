// The phases of a run: which requests are sent, in which order and when.
#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/eval/run/runner.h"
#include "client/eval/stats/random.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {

absl::Status Runner::RunDocuments() {
  const int64_t count = static_cast<int64_t>(dataset_.documents.size()), block_size = std::max(8, 4 * options_.concurrency);
  std::vector<int64_t> order(count);
  for (int64_t i = 0; i < count; ++i) order[i] = i;
  Random random(options_.order_seed);
  random.Shuffle(&order);
  std::vector<std::vector<Task>> blocks;
  int64_t left = 0;
  for (int64_t begin = 0; begin < count; begin += block_size) {
    std::vector<const Contender*> turns;
    for (const Contender& contender : contenders_) turns.push_back(&contender);
    random.Shuffle(&turns);
    for (const Contender* contender : turns) {
      std::vector<Task> block;
      for (int64_t i = begin; i < std::min(begin + block_size, count); ++i) {
        Task task{order[i], contender, "documents", &dataset_.documents[order[i]].text};
        if (!Done(task)) block.push_back(std::move(task));
      }
      left += static_cast<int64_t>(block.size());
      blocks.push_back(std::move(block));
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    result_.from_before = static_cast<int64_t>(done_.size());
  }
  Progress progress("documents", left, options_.quiet);
  for (const std::vector<Task>& block : blocks) {
    if (block.empty() || *interrupted_) continue;
    int64_t cached_before = 0, cached = 0;
    {
      absl::MutexLock lock(&mutex_);
      cached_before = result_.from_cache;
    }
    const absl::Time start = absl::Now();
    const absl::Status status = RunTasks(block, options_.concurrency, &progress);
    if (!status.ok()) return status;
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    {
      absl::MutexLock lock(&mutex_);
      cached = result_.from_cache - cached_before;
    }
    // A throughput is one of whole blocks at the full concurrency.
    if (cached > 0 || *interrupted_ || static_cast<int>(block.size()) < options_.concurrency) continue;
    Json documents = Json::array();
    for (const Task& task : block) documents.push_back(task.document);
    const absl::Status written = journal_->Append({{"block", block[0].contender->name}, {"seconds", seconds}, {"documents", documents}});
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

absl::Status Runner::RunLengths() {
  if (options_.lengths.empty()) return absl::OkStatus();
  // Different texts for each request: the prefix cache shall not help.
  std::vector<std::string_view> words;
  const int64_t longest = *std::max_element(options_.lengths.begin(), options_.lengths.end());
  for (const Document& document : dataset_.documents) {
    const auto split = SplitOnSpace(document.text);
    words.insert(words.end(), split.begin(), split.end());
    if (static_cast<int64_t>(words.size()) > 64 * longest) break;
  }
  Random random(options_.order_seed + 1);
  std::vector<std::unique_ptr<std::string>> texts;
  std::vector<Task> tasks;
  for (const int length : options_.lengths) {
    for (int repeat = 0; repeat < options_.length_repeats; ++repeat) {
      std::vector<std::string_view> piece;
      const uint64_t offset = random.Below(words.size());
      for (int i = 0; i < length; ++i) piece.push_back(words[(offset + i) % words.size()]);
      texts.push_back(std::make_unique<std::string>(absl::StrJoin(piece, " ", [](std::string* out, std::string_view word) { *out += word; })));
      std::set<std::string> seen;  // how a summary is chosen does not change a prompt's cost
      for (const Contender& contender : contenders_) {
        Task task{static_cast<int64_t>(length) * 1000 + repeat, &contender, "lengths", texts.back().get()};
        const bool first = seen.insert(contender.prototype.model() + "/" + contender.prototype.attention_backend()).second;
        if (first && !Done(task)) tasks.push_back(std::move(task));
      }
    }
  }
  random.Shuffle(&tasks);
  Progress progress("length sweep", static_cast<int64_t>(tasks.size()), options_.quiet);
  return RunTasks(tasks, 1, &progress);
}

absl::Status Runner::RunOpenLoop(double rate) {
  const std::string phase = absl::StrFormat("open %g/s", rate);
  Random random(options_.order_seed + 2);
  std::vector<Task> tasks;
  for (const Contender& contender : contenders_) {
    for (int i = 0; i < options_.open_loop_requests; ++i) {
      const int64_t document = static_cast<int64_t>(random.Below(dataset_.documents.size()));
      tasks.push_back({static_cast<int64_t>(i) * 1'000'000'000 + document, &contender, phase, &dataset_.documents[document].text});
    }
  }
  random.Shuffle(&tasks);
  std::erase_if(tasks, [this](const Task& task) { return Done(task); });
  double at = 0;
  for (Task& task : tasks) task.start_seconds = at += -std::log(1 - random.Unit()) / rate;
  Progress progress(phase, static_cast<int64_t>(tasks.size()), options_.quiet);
  constexpr int kMostInFlight = 256;
  return RunTasks(tasks, kMostInFlight, &progress);
}

}  // namespace precis::eval
