#include "client/eval/run/answer_cache.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/eval/data/fingerprint.h"

namespace precis::eval {

std::string AnswerCache::Key(const std::string& document) { return Fingerprint().Add(document).Hex(); }

absl::Status AnswerCache::Open(const std::string& contender, const std::string& backend, const std::string& configuration) {
  if (folder_.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return absl::NotFoundError(absl::StrCat("can't make the cache folder '", folder_, "': ", error.message()));
  std::vector<Json> lines;
  auto journal = Journal::Open(absl::StrCat(folder_, "/", backend, "-", Fingerprint().Add(configuration).Hex(), ".jsonl"), &lines);
  if (!journal.ok()) return journal.status();
  absl::MutexLock lock(&mutex_);
  Shelf& shelf = shelves_[contender];
  shelf.journal = *std::move(journal);
  for (const Json& line : lines) {
    auto answer = AnswerFromJson(line);
    if (answer.ok() && line.contains("key") && line["key"].is_string()) shelf.answers[line["key"].get<std::string>()] = *std::move(answer);
  }
  return absl::OkStatus();
}

std::optional<Answer> AnswerCache::Find(const std::string& contender, const std::string& document) const {
  absl::MutexLock lock(&mutex_);
  const auto shelf = shelves_.find(contender);
  if (shelf == shelves_.end()) return std::nullopt;
  const auto found = shelf->second.answers.find(Key(document));
  return found == shelf->second.answers.end() ? std::nullopt : std::optional(found->second);
}

void AnswerCache::Add(const std::string& document, const Answer& answer) {
  absl::MutexLock lock(&mutex_);
  const auto shelf = shelves_.find(answer.backend);
  if (shelf == shelves_.end() || !answer.ok()) return;
  const std::string key = Key(document);
  if (shelf->second.answers.contains(key)) return;
  Json line = AnswerToJson(answer);
  line["key"] = key;
  if (shelf->second.journal->Append(line).ok()) shelf->second.answers[key] = answer;
}

}  // namespace precis::eval
