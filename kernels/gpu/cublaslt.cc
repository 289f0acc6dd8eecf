#include "kernels/gpu/cublaslt.h"

#include <dlfcn.h>

namespace precis::kernels::cublaslt {
namespace {

constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

struct State {
  Library library = {};
  const char* name = "neither libcublasLt.so.13 nor libcublasLt.so.12 can be opened; own products are used";
  bool loaded = false;
};

template <class F>
bool Find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

bool Resolve(void* so, Library& lib) {
  return Find(so, "cublasLtCreate", lib.Create) && Find(so, "cublasLtMatmulDescCreate", lib.MatmulDescCreate) &&
         Find(so, "cublasLtMatmulDescSetAttribute", lib.MatmulDescSetAttribute) && Find(so, "cublasLtMatrixLayoutCreate", lib.LayoutCreate) &&
         Find(so, "cublasLtMatmulPreferenceCreate", lib.PreferenceCreate) && Find(so, "cublasLtMatmulPreferenceDestroy", lib.PreferenceDestroy) &&
         Find(so, "cublasLtMatmulPreferenceSetAttribute", lib.PreferenceSetAttribute) && Find(so, "cublasLtMatmulAlgoGetHeuristic", lib.Heuristics) &&
         Find(so, "cublasLtMatmul", lib.Matmul);
}

const State& Opened() {
  static const State state = [] {
    State s;
    for (const char* name : kNames) {
      void* so = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (so == nullptr) continue;
      if (Resolve(so, s.library) && s.library.Create(&s.library.handle) == 0) {
        s.loaded = true;
        s.name = name;
        break;
      }
      dlclose(so);
    }
    return s;
  }();
  return state;
}

}  // namespace

const Library* Load() { return Opened().loaded ? &Opened().library : nullptr; }
const char* LoadedName() { return Opened().name; }

}  // namespace precis::kernels::cublaslt
