#include "kernels/cuda/ops_list.h"

#ifdef PRECIS_SIMT

namespace precis::kernels::simt {
bool GemmLibrary(const GemmArgs&, Stream) { return false; }
}  // namespace precis::kernels::simt

#else

#include <map>
#include <mutex>
#include <tuple>

#include "kernels/cuda/platform/launch.h"
#include "kernels/gpu/cublaslt.h"

namespace precis::kernels::cuda {
namespace {

// An algorithm that was asked for once. In column-major terms y^T [n][m] = w [k][n]^T x^T [k][m].
struct Plan {
  bool usable = false;
  bool has_bias = false;  // else BiasActivation follows
  cublaslt::Handle operation = nullptr;
  cublaslt::Handle weights = nullptr, input = nullptr, output = nullptr;
  cublaslt::Algorithm algorithm = {};
};

using PlanKey = std::tuple<int, int, int, int, int64_t, int64_t, int, int, bool, bool, int64_t>;

int DataType(GpuType type) { return type == GpuType::kBf16 ? cublaslt::kTypeBf16 : cublaslt::kTypeF32; }

// The bias in the type that the library wants: that of y.
const void* LibraryBias(const GemmArgs& p) {
  if (p.bias == nullptr) return nullptr;
  return p.y_type == GpuType::kBf16 ? p.bias_bf16 : p.bias;
}

bool Describe(const cublaslt::Library& lib, const GemmArgs& p, Plan& plan) {
  const int transposed = 1;
  const void* bias = LibraryBias(p);
  plan.has_bias = bias != nullptr && (p.activation == GpuActivation::kNone || p.activation == GpuActivation::kGeluTanh);
  const int epilogue = !plan.has_bias                                ? cublaslt::kEpilogueDefault
                       : p.activation == GpuActivation::kGeluTanh ? cublaslt::kEpilogueGeluBias
                                                                     : cublaslt::kEpilogueBias;
  const int bias_type = DataType(p.y_type);
  bool ok = lib.MatmulDescCreate(&plan.operation, cublaslt::kComputeF32, cublaslt::kTypeF32) == 0;
  ok = ok && lib.MatmulDescSetAttribute(plan.operation, cublaslt::kDescTransA, &transposed, sizeof(transposed)) == 0;
  ok = ok && lib.MatmulDescSetAttribute(plan.operation, cublaslt::kDescEpilogue, &epilogue, sizeof(epilogue)) == 0;
  if (plan.has_bias) {
    ok = ok && lib.MatmulDescSetAttribute(plan.operation, cublaslt::kDescBiasPointer, &bias, sizeof(bias)) == 0;
    ok = ok && lib.MatmulDescSetAttribute(plan.operation, cublaslt::kDescBiasType, &bias_type, sizeof(bias_type)) == 0;
  }
  const auto n = static_cast<uint64_t>(p.n), m = static_cast<uint64_t>(p.m), k = static_cast<uint64_t>(p.k);
  ok = ok && lib.LayoutCreate(&plan.weights, cublaslt::kTypeBf16, k, n, p.k) == 0;
  ok = ok && lib.LayoutCreate(&plan.input, cublaslt::kTypeBf16, k, m, p.x_stride) == 0;
  ok = ok && lib.LayoutCreate(&plan.output, DataType(p.y_type), n, m, p.y_stride) == 0;
  return ok;
}

Plan MakePlan(const cublaslt::Library& lib, const GemmArgs& p) {
  Plan plan;
  cublaslt::Handle preference = nullptr;
  cublaslt::Heuristic best = {};
  int found = 0;
  const auto workspace = static_cast<uint64_t>(p.workspace_bytes);
  if (Describe(lib, p, plan) && lib.PreferenceCreate(&preference) == 0 &&
      lib.PreferenceSetAttribute(preference, cublaslt::kPreferenceMaxWorkspace, &workspace, sizeof(workspace)) == 0 &&
      lib.Heuristics(lib.handle, plan.operation, plan.weights, plan.input, plan.output, plan.output, preference, 1, &best, &found) == 0) {
    plan.usable = found > 0 && best.state == 0;
    plan.algorithm = best.algorithm;
  }
  if (preference != nullptr) lib.PreferenceDestroy(preference);
  return plan;
}

}  // namespace

bool GemmLibrary(const GemmArgs& p, Stream stream) {
  if (p.x_type != GpuType::kBf16 || p.w_type != GpuType::kBf16) return false;
  if (p.accumulate && p.activation != GpuActivation::kNone) return false;
  // Rows of y that are not 16-byte aligned: its unaligned kernels are slower than ours for few rows.
  if (p.y_stride % 4 != 0 && p.m <= 256) return false;
  const cublaslt::Library* lib = cublaslt::Load();
  if (lib == nullptr) return false;
  static std::mutex mutex;  // plans are few and are kept as long as the process
  static auto* plans = new std::map<PlanKey, Plan>;
  const std::lock_guard lock(mutex);
  const auto alignment = [](const void* a) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(a) & 15); };
  const PlanKey key = {p.m, p.n, p.k, static_cast<int>(p.y_type), p.x_stride, p.y_stride, static_cast<int>(p.activation), p.accumulate ? 1 : 0,
                       LibraryBias(p) != nullptr, p.workspace_bytes > 0, alignment(p.x) | alignment(p.w) << 4 | alignment(p.y) << 8};
  auto [at, created] = plans->try_emplace(key);
  if (created) at->second = MakePlan(*lib, p);
  const Plan& plan = at->second;
  if (!plan.usable) return false;
  const void* bias = LibraryBias(p);
  if (plan.has_bias) lib->MatmulDescSetAttribute(plan.operation, cublaslt::kDescBiasPointer, &bias, sizeof(bias));
  const float one = 1, beta = p.accumulate ? 1 : 0;
  const int status = lib->Matmul(lib->handle, plan.operation, &one, p.w, plan.weights, p.x, plan.input, &beta, p.y, plan.output, p.y, plan.output,
                                 &plan.algorithm, p.workspace, static_cast<size_t>(p.workspace_bytes), stream.handle);
  if (status != 0) KeepLaunchError(cudaErrorLaunchFailure);
  if (!plan.has_bias && (p.bias != nullptr || p.activation != GpuActivation::kNone)) BiasActivation(p, stream);
  return true;
}

}  // namespace precis::kernels::cuda

#endif
