#include "client/eval/run/runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/files.h"
#include "client/eval/stats/random.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

// After so many calls in a row that found no server the rest is left for later.
constexpr int kMostUnavailable = 8;

std::string ErrorText(const absl::Status& status) {
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", std::string(status.message()));
}

// What was set of the request; the rest is the server's default.
Json OptionsJson(const v1::SummarizeRequest& prototype) {
  const Json all = cli::MessageToJson(prototype);
  Json json = Json::object();
  const auto keep = [](const Json& value) { return !value.is_null() && value != "" && value != "unspecified" && !(value.is_array() && value.empty()); };
  for (const auto& [name, value] : all.items()) {
    static const std::set<std::string> kNotOptions = {"document", "attention_backend", "client_request_id", "unit_id", "return_token_ids", "options"};
    if (!kNotOptions.contains(name) && keep(value)) json[name] = value;
  }
  const Json options = cli::MessageToJson(prototype.options());
  for (const auto& [name, value] : options.items()) {
    const auto* const descriptor = v1::GenerationOptions::descriptor()->FindFieldByName(name);
    const bool set = descriptor->is_repeated() ? prototype.options().GetReflection()->FieldSize(prototype.options(), descriptor) > 0
                                               : prototype.options().GetReflection()->HasField(prototype.options(), descriptor);
    if (set) json[name] = value;
  }
  return json;
}

// Names of what differs, or nothing.
std::string Differences(const Json& before, const Json& now) {
  std::vector<std::string> names;
  for (const auto& [name, value] : now.items()) {
    if (!before.contains(name) || before[name] != value) names.push_back(name);
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace

Json Runner::Configuration() const {
  return {{"server_build", server_.backends.server_build()},
          {"device", server_.backends.device()},
          {"models", cli::MessageToJson(server_.models)["models"]},
          {"data", dataset_.hash},
          {"backends", backends_},
          {"options", OptionsJson(options_.prototype)},
          {"concurrency", options_.concurrency},
          {"lengths", options_.lengths},
          {"rates", options_.rates}};
}

absl::Status Runner::OpenFolder() {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(options_.out, error);
  if (error) return absl::NotFoundError(absl::StrCat("can't make the folder '", options_.out, "': ", error.message()));
  const std::string run_path = absl::StrCat(options_.out, "/", kRunFile), answers_path = absl::StrCat(options_.out, "/", kAnswersFile);
  if (options_.fresh) fs::remove(answers_path, error);
  std::vector<Json> lines;
  auto journal = Journal::Open(answers_path, &lines);
  if (!journal.ok()) return journal.status();
  journal_ = *std::move(journal);
  const Json configuration = Configuration();
  if (!lines.empty()) {
    const auto before = cli::ReadInput(run_path);
    const Json run = before.ok() ? Json::parse(*before, nullptr, false) : Json();
    const std::string differences = run.is_object() && run.contains("configuration") ? Differences(run["configuration"], configuration) : "run.json is missing";
    if (!differences.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("'", options_.out, "' holds another run (it differs in: ", differences,
                                                        "); choose another --out, or --fresh to throw that one away"));
    }
  }
  for (const Json& line : lines) {
    const auto answer = AnswerFromJson(line);
    if (answer.ok() && answer->ok()) done_.insert({answer->phase, answer->backend, answer->document});
  }
  Json bad = Json::array();
  for (const BadRow& row : dataset_.bad_rows) bad.push_back({{"file", row.file}, {"row", row.row}, {"problem", row.problem}});
  const Json run = {{"configuration", configuration},
                    {"server", server_.ToJson()},
                    {"client_machine", MachineFacts()},
                    {"data", {{"paths", options_.data.paths}, {"rows", dataset_.rows}, {"documents", dataset_.documents.size()}, {"sample", options_.data.sample},
                              {"sample_seed", options_.data.seed}, {"bad_rows", dataset_.bad_rows_total}, {"bad_rows_listed", bad}}},
                    {"order_seed", options_.order_seed},
                    {"warmup", options_.warmup},
                    {"length_repeats", options_.length_repeats},
                    {"started", absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())}};
  std::string documents;
  for (const Document& document : dataset_.documents) {
    absl::StrAppend(&documents, cli::Dump({{"id", document.id}, {"group", document.group}, {"text", document.text}, {"references", document.references}}, false), "\n");
  }
  absl::Status status = cli::WriteFile(absl::StrCat(options_.out, "/", kDocumentsFile), documents);
  status.Update(cli::WriteFile(run_path, cli::Dump(run, true) + "\n"));
  return status;
}

absl::Status Runner::Prepare() {
  auto client = client::SummarizerClient::Create(options_.connection);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  auto server = AskServer(client_.get());
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  backends_ = options_.backends.empty() ? server_.Served() : options_.backends;
  if (backends_.empty()) return absl::InvalidArgumentError("no model of the server serves any backend");
  auto dataset = ReadDataset(options_.data);
  if (!dataset.ok()) return dataset.status();
  dataset_ = *std::move(dataset);
  const absl::Status status = OpenFolder();
  if (!status.ok()) return status;
  cache_ = std::make_unique<AnswerCache>(options_.cache);
  return absl::OkStatus();
}

Answer Runner::Ask(const Task& task, absl::Time intended) const {
  v1::SummarizeRequest request = options_.prototype;
  request.set_document(*task.text);
  request.set_attention_backend(task.backend);
  request.set_client_request_id(absl::StrCat("eval-", task.phase, "-", task.document));
  if (task.phase == "lengths") {  // what is measured is the prompt
    request.mutable_options()->set_max_new_tokens(4);
    request.mutable_options()->clear_min_new_tokens();
    request.set_too_long(v1::TOO_LONG_REJECT);
  }
  Answer answer{.document = task.document, .backend = task.backend, .phase = task.phase};
  absl::Time first = absl::InfiniteFuture();
  const auto response = client_->StreamSummarize(
      request,
      [&first](std::string_view) {
        first = std::min(first, absl::Now());
        return true;
      },
      {.timeout = options_.deadline});
  if (!response.ok()) {
    answer.error = ErrorText(response.status());
    return answer;
  }
  const absl::Time end = absl::Now();
  answer.summary = response->summary();
  answer.model = response->model();
  answer.checkpoint = response->checkpoint();
  answer.finish_reason = cli::ResponseToJson(*response)["finish_reason"].get<std::string>();
  answer.accounting = cli::MessageToJson(response->accounting());
  answer.client_seconds = absl::ToDoubleSeconds(end - intended);
  answer.client_first_token_seconds = absl::ToDoubleSeconds(std::min(first, end) - intended);
  return answer;
}

absl::Status Runner::WarmUp() {
  for (const std::string& backend : backends_) {
    Answer answer;
    for (int i = 0; i < std::max(1, options_.warmup); ++i) {
      const auto& documents = dataset_.documents;
      // A document that the server refuses for its size says nothing about the backend: the next one may do.
      for (size_t attempt = 0; attempt < std::min<size_t>(documents.size(), 5); ++attempt) {
        const int64_t document = static_cast<int64_t>((i + attempt) % documents.size());
        answer = Ask({document, backend, "warmup", &documents[document].text}, absl::Now());
        if (answer.ok()) break;
      }
      if (!answer.ok()) {
        const size_t colon = answer.error.find(": ");
        for (const auto code : {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kUnauthenticated,
                                absl::StatusCode::kResourceExhausted}) {
          if (answer.error.substr(0, colon) == absl::StatusCodeToString(code)) return absl::Status(code, absl::StrCat("backend ", backend, ": ", answer.error));
        }
        return absl::InvalidArgumentError(absl::StrCat("backend ", backend, ": ", answer.error));
      }
    }
    Json checkpoint;
    for (const auto& model : server_.models.models()) {
      for (const auto& candidate : model.checkpoints()) {
        if (model.name() == answer.model && candidate.name() == answer.checkpoint) checkpoint = cli::MessageToJson(candidate);
      }
    }
    const Json what = {{"server", server_.backends.server_build()}, {"device", server_.backends.device()}, {"checkpoint", checkpoint},
                       {"backend", backend}, {"options", OptionsJson(options_.prototype)}};
    const absl::Status cached = cache_->OpenBackend(backend, cli::Dump(what, false));
    if (!cached.ok()) std::cerr << "no answer cache for " << backend << ": " << cached.message() << std::endl;
  }
  return absl::OkStatus();
}

absl::Status Runner::Count(const Answer& answer, Progress* progress) {
  const absl::Status written = journal_->Append(AnswerToJson(answer));
  progress->Add(!answer.ok(), !answer.cached);
  absl::MutexLock lock(&mutex_);
  const bool limits = answer.phase == "lengths" && answer.error.rfind("INVALID_ARGUMENT", 0) == 0;  // longer than the context
  if (answer.ok()) {
    ++result_.answered;
    result_.from_cache += answer.cached;
  } else if (!limits) {
    ++result_.failed;
    if (result_.first_error.empty()) result_.first_error = answer.error;
  }
  unavailable_in_a_row_ = answer.error.rfind("UNAVAILABLE", 0) == 0 ? unavailable_in_a_row_ + 1 : 0;
  if (!written.ok()) return written;
  if (unavailable_in_a_row_ < kMostUnavailable) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server is gone (", answer.error, "); what was answered is kept: the same command goes on from there"));
}

absl::Status Runner::RunOne(const Task& task, absl::Time phase_start, Progress* progress) {
  if (task.phase == "documents") {
    if (std::optional<Answer> known = cache_->Find(task.backend, *task.text)) {
      known->document = task.document;
      known->cached = true;
      return Count(*known, progress);
    }
  }
  const absl::Time intended = task.start_seconds > 0 ? phase_start + absl::Seconds(task.start_seconds) : absl::Now();
  while (absl::Now() < intended && !*interrupted_) absl::SleepFor(std::min(intended - absl::Now(), absl::Milliseconds(100)));
  const Answer answer = Ask(task, intended);
  if (task.phase == "documents") cache_->Add(*task.text, answer);
  return Count(answer, progress);
}

absl::Status Runner::RunTasks(const std::vector<Task>& tasks, int workers, Progress* progress) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  absl::Mutex mutex;
  absl::Status status;
  const absl::Time start = absl::Now();
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size() && !stop && !*interrupted_; i = next++) {
      const absl::Status one = RunOne(tasks[i], start, progress);
      if (one.ok()) continue;
      absl::MutexLock lock(&mutex);
      status.Update(one);
      stop = true;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < std::min<int>(workers, static_cast<int>(tasks.size())); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&mutex);
  return status;
}

absl::Status Runner::RunDocuments() {
  const int64_t count = static_cast<int64_t>(dataset_.documents.size()), block_size = std::max(8, 4 * options_.concurrency);
  std::vector<int64_t> order(count);
  for (int64_t i = 0; i < count; ++i) order[i] = i;
  Random random(options_.order_seed);
  random.Shuffle(&order);
  std::vector<std::vector<Task>> blocks;
  int64_t left = 0;
  for (int64_t begin = 0; begin < count; begin += block_size) {
    std::vector<std::string> turns = backends_;
    random.Shuffle(&turns);
    for (const std::string& backend : turns) {
      std::vector<Task> block;
      for (int64_t i = begin; i < std::min(begin + block_size, count); ++i) {
        Task task{order[i], backend, "documents", &dataset_.documents[order[i]].text};
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
    const absl::Status written = journal_->Append({{"block", block[0].backend}, {"seconds", seconds}, {"documents", documents}});
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
      for (const std::string& backend : backends_) {
        Task task{static_cast<int64_t>(length) * 1000 + repeat, backend, "lengths", texts.back().get()};
        if (!Done(task)) tasks.push_back(std::move(task));
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
  for (const std::string& backend : backends_) {
    for (int i = 0; i < options_.open_loop_requests; ++i) {
      const int64_t document = static_cast<int64_t>(random.Below(dataset_.documents.size()));
      tasks.push_back({static_cast<int64_t>(i) * 1'000'000'000 + document, backend, phase, &dataset_.documents[document].text});
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

absl::StatusOr<RunResult> Runner::Run() {
  absl::Status status = Prepare();
  if (status.ok()) status = WarmUp();
  if (status.ok()) status = RunDocuments();
  if (status.ok() && !*interrupted_) status = RunLengths();
  for (const double rate : options_.rates) {
    if (status.ok() && !*interrupted_) status = RunOpenLoop(rate);
  }
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  result_.interrupted = *interrupted_;
  return result_;
}

}  // namespace precis::eval
