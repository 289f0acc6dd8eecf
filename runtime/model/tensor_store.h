#ifndef PRECIS_RUNTIME_MODEL_TENSOR_STORE_H_
#define PRECIS_RUNTIME_MODEL_TENSOR_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/safetensors.h"

namespace precis::runtime {

// All tensors of a model folder: model.safetensors, or the files that model.safetensors.index.json lists. Mapped and
// checked when opened. Which tensors were asked for is remembered, so that leftovers can be refused.
class TensorStore {
 public:
  // Refuses: neither file there, index entries without a tensor, tensors without an index entry, one name in two files,
  // shard names with a path in them.
  static absl::StatusOr<TensorStore> Open(const std::string& directory);

  struct Entry {
    TensorView view;
    const MappedFile* file = nullptr;
    mutable bool used = false;
  };

  // nullptr if there is none. Marks it as used.
  const Entry* Find(std::string_view name) const;
  bool Has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  // Gives the pages of a tensor that has been read back to the system.
  void Release(const Entry& entry) const { entry.file->Release(entry.view.data, entry.view.bytes); }
  // Names nobody asked for, sorted.
  std::vector<std::string_view> Unused() const;

  // What errors call the file: its path, or the index's.
  const std::string& path() const { return path_; }
  absl::Status Error(std::string_view tensor, std::string_view what) const;

 private:
  absl::Status AddFile(const std::string& path);
  absl::Status AddShards(const std::string& directory);

  std::string path_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::map<std::string, Entry, std::less<>> tensors_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_TENSOR_STORE_H_
