// Apache Arrow is large and brings libraries of its own (protobuf among them): it is loaded only for a Parquet file, and with its symbols
// kept to itself.
#include <dlfcn.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/eval/data/row_reader.h"

#ifndef PRECIS_PARQUET_MODULE
#define PRECIS_PARQUET_MODULE ""
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PRECIS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PRECIS_SANITIZED 1
#endif
#endif

namespace precis::eval {
namespace {

using OpenFunction = RowReader* (*)(const std::string& path, std::string* error);

// Beside the program, or where it was built.
std::string ModulePath() {
  std::error_code error;
  const auto beside = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "libprecis_parquet.so";
  if (!error && std::filesystem::exists(beside, error)) return beside.string();
  return PRECIS_PARQUET_MODULE;
}

absl::StatusOr<OpenFunction> Load() {
  int flags = RTLD_NOW | RTLD_LOCAL;
#ifndef PRECIS_SANITIZED
  flags |= RTLD_DEEPBIND;  // its own protobuf before ours; the sanitizers' interceptors don't allow it
#endif
  void* const module = dlopen(ModulePath().c_str(), flags);
  if (module == nullptr) return absl::UnimplementedError(absl::StrCat("Apache Arrow can't be loaded: ", dlerror()));
  return reinterpret_cast<OpenFunction>(dlsym(module, "PrecisOpenParquet"));
}

}  // namespace

bool HasParquet() { return !ModulePath().empty(); }

absl::StatusOr<std::unique_ptr<RowReader>> OpenParquet(const std::string& path) {
  if (!HasParquet()) {
    return absl::UnimplementedError(absl::StrCat("'", path, "': this build has no Parquet; run deploy/install-deps and build again, or give CSV or JSON lines"));
  }
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::NotFoundError(absl::StrCat("can't read '", path, "': no such file"));
  static const auto* const open = new absl::StatusOr<OpenFunction>(Load());
  if (!open->ok()) return open->status();
  std::string problem;
  std::unique_ptr<RowReader> reader((**open)(path, &problem));
  if (reader == nullptr) return absl::DataLossError(absl::StrCat("'", path, "': ", problem));
  return reader;
}

}  // namespace precis::eval
