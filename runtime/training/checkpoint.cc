#include "runtime/training/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "runtime/model/json_object.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/safetensors.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/training/files.h"
#include "runtime/training/safetensors_writer.h"

namespace precis::runtime {
namespace {

using nlohmann::json;

constexpr int64_t kMaxStateBytes = 1 << 20;

std::string StepName(int64_t step) {
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "step-%08lld", static_cast<long long>(step));
  return name.data();
}

std::string LinkTarget(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  return error ? "" : target.string();
}

absl::Status FindFloats(const TensorMap& tensors, const std::string& name, const Parameter& p, const std::string& path, float* to) {
  const auto at = tensors.find(name);
  if (at == tensors.end() || at->second.dtype != TensorDType::kF32 || at->second.bytes != p.count() * 4) {
    return absl::InvalidArgumentError(Cat(path, ": tensor ", name, " is missing or not F32 of ", p.count(), " elements"));
  }
  std::memcpy(to, at->second.data, static_cast<size_t>(at->second.bytes));
  return absl::OkStatus();
}

}  // namespace

json ToJson(const TrainerState& s) {
  return {{"step", s.step}, {"epoch", s.position.epoch}, {"index", s.position.index}, {"batches", s.batches}, {"tokens", s.tokens},
          {"best_evaluation", s.best_evaluation}, {"best_step", s.best_step}, {"evaluations_without_gain", s.evaluations_without_gain},
          {"options", s.options}};
}

absl::StatusOr<TrainerState> ParseTrainerState(std::string_view text, std::string_view file_name) {
  PRECIS_ASSIGN(const json object, ParseJsonObject(text, file_name));
  TrainerState s;
  const std::pair<const char*, int64_t*> integers[] = {
      {"step", &s.step}, {"epoch", &s.position.epoch}, {"index", &s.position.index}, {"batches", &s.batches}, {"tokens", &s.tokens},
      {"best_step", &s.best_step}, {"evaluations_without_gain", &s.evaluations_without_gain}};
  for (const auto& [name, value] : integers) {
    const auto at = object.find(name);
    const int64_t least = std::strcmp(name, "best_step") == 0 ? -1 : 0;
    if (at == object.end() || !at->is_number_integer() || at->get<int64_t>() < least) {
      return JsonError(file_name, Cat("\"", name, "\" must be an integer from ", least, " on"));
    }
    *value = at->get<int64_t>();
  }
  const auto best = object.find("best_evaluation"), options = object.find("options");
  if (best == object.end() || !best->is_number()) return JsonError(file_name, "\"best_evaluation\" must be a number");
  if (options == object.end() || !options->is_string()) return JsonError(file_name, "\"options\" must be a string");
  s.best_evaluation = best->get<double>();
  s.options = options->get<std::string>();
  return s;
}

absl::Status CheckpointFolder::WriteInto(const std::string& folder, const ParameterTable& table, const CheckpointNumbers& numbers,
                                         const TrainerState& state) const {
  PRECIS_TRY(MakeDirectories(folder));
  for (const auto& [name, content] : files_) PRECIS_TRY(WriteFile(Cat(folder, "/", name), content));
  PRECIS_TRY(WriteSafetensors(folder + "/model.safetensors", CheckpointTensors(table, numbers.weights, save_bf16_)));
  std::vector<TensorToWrite> tensors;
  const std::pair<const char*, const std::vector<float>*> parts[] = {{"weights.", &numbers.weights}, {"first.", &numbers.first}, {"second.", &numbers.second}};
  for (const auto& [prefix, values] : parts) {
    for (TensorToWrite& t : StateTensors(table, *values, prefix)) tensors.push_back(std::move(t));
  }
  PRECIS_TRY(WriteSafetensors(folder + "/optimizer.safetensors", tensors));
  PRECIS_TRY(WriteFile(folder + "/trainer_state.json", ToJson(state).dump(1) + "\n"));
  return SyncDirectory(folder);
}

absl::Status CheckpointFolder::Write(const ParameterTable& table, const CheckpointNumbers& numbers, const TrainerState& state, bool is_best, int keep) {
  const std::string all = out_ + "/checkpoints", name = StepName(state.step), final_path = Cat(all, "/", name);
  PRECIS_TRY(MakeDirectories(all));
  const std::string beside = Cat(all, "/.writing-", name);
  RemoveTree(beside);
  absl::Status status = WriteInto(beside, table, numbers, state);
  if (status.ok()) status = RenamePath(beside, final_path);
  RemoveTree(beside);  // what a run that was resumed from before this step had written; or what could not be written
  PRECIS_TRY(status);
  PRECIS_TRY(SyncDirectory(all));
  const std::string target = Cat("checkpoints/", name);
  if (is_best) PRECIS_TRY(ReplaceLink(out_ + "/best", target));
  PRECIS_TRY(ReplaceLink(out_ + "/last", target));
  PRECIS_TRY(SyncDirectory(out_));
  RemoveOld(keep);
  return absl::OkStatus();
}

void CheckpointFolder::RemoveOld(int keep) const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(out_ + "/checkpoints", error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(".writing-", 0) == 0) RemoveTree(entry.path().string());
    if (name.rfind("step-", 0) == 0) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  const std::string best = LinkTarget(out_ + "/best"), last = LinkTarget(out_ + "/last");
  for (size_t i = 0; i + static_cast<size_t>(keep) < names.size(); ++i) {
    const std::string target = Cat("checkpoints/", names[i]);
    if (target != best && target != last) RemoveTree(Cat(out_, "/", target));
  }
}

std::string CheckpointFolder::LastFolder() const {
  const std::string target = LinkTarget(out_ + "/last");
  return target.empty() ? "" : Cat(out_, "/", target);
}

absl::StatusOr<TrainerState> CheckpointFolder::ReadState() const {
  const std::string folder = LastFolder();
  if (folder.empty()) return absl::NotFoundError(Cat(out_, ": no checkpoint to resume from; start without --resume"));
  const std::string path = folder + "/trainer_state.json";
  PRECIS_ASSIGN(const std::string text, ReadSmallFile(path, kMaxStateBytes));
  return ParseTrainerState(text, path);
}

absl::StatusOr<CheckpointNumbers> CheckpointFolder::ReadNumbers(const ParameterTable& table) const {
  const std::string path = LastFolder() + "/optimizer.safetensors";
  PRECIS_ASSIGN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  PRECIS_ASSIGN(const TensorMap tensors, ParseSafetensors(file->bytes(), path));
  CheckpointNumbers numbers;
  const std::pair<const char*, std::vector<float>*> parts[] = {{"weights.", &numbers.weights}, {"first.", &numbers.first}, {"second.", &numbers.second}};
  for (const auto& [prefix, values] : parts) {
    values->assign(table.total(), 0.0f);
    for (const Parameter& p : table.all()) PRECIS_TRY(FindFloats(tensors, prefix + p.name, p, path, values->data() + p.offset));
  }
  return numbers;
}

}  // namespace precis::runtime
