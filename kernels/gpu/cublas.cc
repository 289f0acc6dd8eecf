#include "kernels/gpu/cublas.h"

#include <dlfcn.h>

#include <initializer_list>

namespace precis::kernels::cublas {
namespace {

template <class F>
bool Find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

// Opened once and kept; null if that failed.
const Library* Open() {
  for (const char* name : {"libcublas.so.13", "libcublas.so.12"}) {
    void* so = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (so == nullptr) continue;
    auto* lib = new Library{};
    if (Find(so, "cublasCreate_v2", lib->Create) && Find(so, "cublasSetStream_v2", lib->SetStream) &&
        Find(so, "cublasGemmStridedBatchedEx", lib->GemmStridedBatchedEx) && lib->Create(&lib->handle) == 0) {
      return lib;
    }
    delete lib;
    dlclose(so);
  }
  return nullptr;
}

}  // namespace

const Library* Load() {
  static const Library* library = Open();
  return library;
}

}  // namespace precis::kernels::cublas
