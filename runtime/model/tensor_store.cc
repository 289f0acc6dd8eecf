#include "runtime/model/tensor_store.h"

#include <set>
#include <utility>

#include "runtime/model/json_object.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{16} << 20;
constexpr size_t kMaxShards = 1024;

struct Index {
  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards;
};

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
         name != "." && name != "..";
}

absl::StatusOr<Index> ParseIndex(std::string_view text, const std::string& path) {
  PRECIS_ASSIGN(const nlohmann::json object, ParseJsonObject(text, path));
  const auto map = object.find("weight_map");
  if (map == object.end() || !map->is_object() || map->empty()) {
    return JsonError(path, "needs 'weight_map', an object that names each tensor's file");
  }
  Index index;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>())) {
      return JsonError(path, Cat("weight_map: the file of tensor '", Printable(tensor),
                                          "' is no plain file name in this folder"));
    }
    index.shards.insert(shard.get<std::string>());
    index.shard_of.emplace(tensor, shard.get<std::string>());
  }
  if (index.shards.size() > kMaxShards) {
    return JsonError(path, Cat("names ", index.shards.size(), " files; at most ", kMaxShards,
                                        " are allowed"));
  }
  return index;
}

}  // namespace

absl::StatusOr<TensorStore> TensorStore::Open(const std::string& directory) {
  TensorStore store;
  const std::string single = Cat(directory, "/model.safetensors");
  const std::string index = Cat(directory, "/model.safetensors.index.json");
  if (FileExists(single)) {
    store.path_ = single;
    PRECIS_TRY(store.AddFile(single));
  } else if (FileExists(index)) {
    store.path_ = index;
    PRECIS_TRY(store.AddShards(directory));
  } else {
    return absl::InvalidArgumentError(
        Cat(directory, ": has neither model.safetensors nor model.safetensors.index.json; other formats "
                                "must be converted to safetensors first"));
  }
  return store;
}

absl::Status TensorStore::AddFile(const std::string& path) {
  PRECIS_ASSIGN(auto file, MappedFile::Open(path));
  PRECIS_ASSIGN(TensorMap tensors, ParseSafetensors(file->bytes(), path));
  for (auto& [name, view] : tensors) {
    const auto [it, added] = tensors_.emplace(name, Entry{view, file.get(), false});
    if (!added) {
      return absl::InvalidArgumentError(Cat(path, ": tensor '", Printable(name), "': is also in ",
                                                     it->second.file->path()));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status TensorStore::AddShards(const std::string& directory) {
  PRECIS_ASSIGN(const std::string text, ReadSmallFile(path_, kMaxIndexBytes));
  PRECIS_ASSIGN(const Index index, ParseIndex(text, path_));
  for (const std::string& shard : index.shards) {
    PRECIS_TRY(AddFile(Cat(directory, "/", shard)));
  }
  for (const auto& [tensor, shard] : index.shard_of) {
    const auto it = tensors_.find(tensor);
    if (it == tensors_.end() || it->second.file->path() != Cat(directory, "/", shard)) {
      return Error(tensor, Cat("is not in ", shard, ", where the index says it is"));
    }
  }
  for (const auto& [tensor, entry] : tensors_) {
    if (index.shard_of.count(tensor) == 0) {
      return Error(tensor, Cat("is in ", entry.file->path(), " but not in the index"));
    }
  }
  return absl::OkStatus();
}

const TensorStore::Entry* TensorStore::Find(std::string_view name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) return nullptr;
  it->second.used = true;
  return &it->second;
}

std::vector<std::string_view> TensorStore::Unused() const {
  std::vector<std::string_view> names;
  for (const auto& [name, entry] : tensors_) {
    if (!entry.used) names.push_back(name);
  }
  return names;
}

absl::Status TensorStore::Error(std::string_view tensor, std::string_view what) const {
  return absl::InvalidArgumentError(Cat(path_, ": tensor '", Printable(tensor), "': ", what));
}

}  // namespace precis::runtime
