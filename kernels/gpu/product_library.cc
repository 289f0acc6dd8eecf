#include "kernels/gpu/product_library.h"

#include <map>
#include <mutex>
#include <tuple>

#include "kernels/gpu/cublaslt.h"

namespace precis::kernels {
namespace {

// The library is column-major: it computes C^T [n][m] = op(B)^T op(A)^T, and a row-major matrix is its own transpose there.
struct Plan {
  bool usable = false;
  cublaslt::Handle operation = nullptr, b = nullptr, a = nullptr, c = nullptr;
  cublaslt::Algorithm algorithm = {};
};
using PlanKey = std::tuple<int, int, int, int64_t, int64_t, int64_t, int, int>;

int OutputType(const ProductArgs& p) { return p.accumulate ? cublaslt::kTypeF32 : cublaslt::kTypeBf16; }

bool Describe(const cublaslt::Library& lib, const ProductArgs& p, Plan* plan) {
  const auto set = [&](int attribute, const auto& value) {
    return lib.MatmulDescSetAttribute(plan->operation, attribute, &value, sizeof(value)) == 0;
  };
  const int b_transposed = p.b_transposed ? 1 : 0, a_transposed = p.a_transposed ? 1 : 0;
  const int epilogue = p.bias_bf16 != nullptr ? cublaslt::kEpilogueBias : cublaslt::kEpilogueDefault;
  bool ok = lib.MatmulDescCreate(&plan->operation, cublaslt::kComputeF32, cublaslt::kTypeF32) == 0 && set(cublaslt::kDescTransA, b_transposed) &&
            set(cublaslt::kDescTransB, a_transposed) && set(cublaslt::kDescEpilogue, epilogue);
  if (p.bias_bf16 != nullptr) ok = ok && set(cublaslt::kDescBiasPointer, p.bias_bf16) && set(cublaslt::kDescBiasType, cublaslt::kTypeBf16);
  const auto m = static_cast<uint64_t>(p.m), n = static_cast<uint64_t>(p.n), k = static_cast<uint64_t>(p.k);
  ok = ok && lib.LayoutCreate(&plan->b, cublaslt::kTypeBf16, p.b_transposed ? k : n, p.b_transposed ? n : k, p.b_stride) == 0;
  ok = ok && lib.LayoutCreate(&plan->a, cublaslt::kTypeBf16, p.a_transposed ? m : k, p.a_transposed ? k : m, p.a_stride) == 0;
  return ok && lib.LayoutCreate(&plan->c, OutputType(p), n, m, p.c_stride) == 0;
}

Plan MakePlan(const cublaslt::Library& lib, const ProductArgs& p) {
  Plan plan;
  cublaslt::Handle preference = nullptr;
  cublaslt::Heuristic best = {};
  int found = 0;
  const auto workspace = static_cast<uint64_t>(kProductWorkspaceBytes);
  if (Describe(lib, p, &plan) && lib.PreferenceCreate(&preference) == 0 &&
      lib.PreferenceSetAttribute(preference, cublaslt::kPreferenceMaxWorkspace, &workspace, sizeof(workspace)) == 0 &&
      lib.Heuristics(lib.handle, plan.operation, plan.b, plan.a, plan.c, plan.c, preference, 1, &best, &found) == 0) {
    plan.usable = found > 0 && best.state == 0;
    plan.algorithm = best.algorithm;
  }
  if (preference != nullptr) lib.PreferenceDestroy(preference);
  return plan;
}

bool Takes(const ProductArgs& p) {
  if (p.type != GpuType::kBf16 || p.m == 0 || p.n == 0 || p.k == 0) return false;
  if (p.bias != nullptr && (p.bias_bf16 == nullptr || p.accumulate)) return false;
  return p.a_stride % 8 == 0 && p.b_stride % 8 == 0 && p.c_stride % 8 == 0;
}

}  // namespace

bool LibraryProduct(const ProductArgs& p, void* workspace, Stream stream, bool* failed) {
  if (!Takes(p)) return false;
  const cublaslt::Library* lib = cublaslt::Load();
  if (lib == nullptr) return false;
  static std::mutex mutex;  // plans are few and are kept as long as the process
  static auto* plans = new std::map<PlanKey, Plan>;
  const std::lock_guard lock(mutex);
  const auto alignment = [](const void* x) { return static_cast<int>(reinterpret_cast<uintptr_t>(x) & 15); };
  const int kind = (p.a_transposed ? 1 : 0) | (p.b_transposed ? 2 : 0) | (p.accumulate ? 4 : 0) | (p.bias_bf16 != nullptr ? 8 : 0);
  const PlanKey key = {p.m, p.n, p.k, p.a_stride, p.b_stride, p.c_stride, kind, alignment(p.a) | alignment(p.b) << 4 | alignment(p.c) << 8};
  auto [at, created] = plans->try_emplace(key);
  if (created) at->second = MakePlan(*lib, p);
  const Plan& plan = at->second;
  if (!plan.usable) return false;
  if (p.bias_bf16 != nullptr) lib->MatmulDescSetAttribute(plan.operation, cublaslt::kDescBiasPointer, &p.bias_bf16, sizeof(p.bias_bf16));
  const float one = 1, beta = p.accumulate ? 1 : 0;
  *failed = lib->Matmul(lib->handle, plan.operation, &one, p.b, plan.b, p.a, plan.a, &beta, p.c, plan.c, p.c, plan.c, &plan.algorithm, workspace,
                        static_cast<size_t>(kProductWorkspaceBytes), stream.handle) != 0;
  return true;
}

}  // namespace precis::kernels
