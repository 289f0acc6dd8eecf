#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/pack_panels.h"
#include "kernels/ops.h"

namespace precis::kernels {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Zeroed memory from the system, on huge pages where it has them: weights are streamed whole at every step, and small pages cost
// TLB misses. Null if there is none.
class Pages {
 public:
  explicit Pages(int64_t bytes) : bytes_(bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return;
    data_ = static_cast<char*>(p);
    if (bytes >= kHugePage) madvise(p, bytes, MADV_HUGEPAGE);
  }
  ~Pages() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  char* data() const { return data_; }

 private:
  static constexpr int64_t kHugePage = int64_t{2} << 20;
  char* data_ = nullptr;
  int64_t bytes_;
};

// Packed activations of the product under way: one buffer a calling thread, kept between calls.
char* ActivationScratch(int64_t bytes) {
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<char, Free> buffer;
  thread_local int64_t size = 0;
  if (bytes > size) {
    const int64_t rounded = DivideUp(bytes, 4096) * 4096;
    buffer.reset(static_cast<char*>(std::aligned_alloc(64, rounded)));
    size = rounded;
  }
  return buffer.get();
}

class CpuMatrix : public PackedMatrix {
 public:
  CpuMatrix(const WeightSource& source, DType dtype, CpuIsa isa)
      : kernels_(KernelsFor(isa).gemm[static_cast<int>(dtype)]),
        dtype_(dtype),
        in_(source.in),
        out_(source.out),
        depth_(DivideUp(source.in, kernels_.layout.depth_multiple) * kernels_.layout.depth_multiple),
        panel_count_(DivideUp(source.out, kernels_.layout.panel_width)),
        panel_bytes_(depth_ * kernels_.layout.panel_width * (dtype == DType::kF32 ? 4 : dtype == DType::kBf16 ? 2 : 1)),
        panels_(panel_bytes_ * panel_count_) {
    if (dtype == DType::kI8) scales_.resize(panel_count_ * kernels_.layout.panel_width);
  }

  bool allocated() const { return panels_.data() != nullptr; }

  void Fill(const WeightSource& source, ThreadPool& pool) {
    const int width = kernels_.layout.panel_width;
    pool.ParallelFor(panel_count_, [&](int64_t panel, int) {
      PackPanel(source, dtype_, kernels_.layout, depth_, panel * width, panels_.data() + panel * panel_bytes_,
                scales_.empty() ? nullptr : scales_.data() + panel * width);
    });
  }

  void Multiply(const Args& args, ThreadPool& pool) const override {
    for (int64_t row = 0; row < args.rows; row += kGemmRows) {
      const int rows = static_cast<int>(std::min<int64_t>(kGemmRows, args.rows - row));
      MultiplyRows(args, row, rows, pool);
    }
  }

  void CopyOutputRow(int64_t output, float* row) const override {
    const int width = kernels_.layout.panel_width;
    UnpackOutput(panels_.data() + output / width * panel_bytes_, dtype_, kernels_.layout, in_,
                 static_cast<int>(output % width), OutputScale(output), row);
  }
  float OutputScale(int64_t output) const override { return scales_.empty() ? 1.0f : scales_[output]; }

  int64_t in() const override { return in_; }
  int64_t out() const override { return out_; }
  int64_t bytes() const override {
    return panel_bytes_ * panel_count_ + static_cast<int64_t>(scales_.size() * sizeof(float));
  }
  DType dtype() const override { return dtype_; }

 private:
  void MultiplyRows(const Args& args, int64_t row, int rows, ThreadPool& pool) const {
    // As even as whole groups can be: a small last group would leave multipliers idle.
    const int most = kernels_.max_group_rows;
    const int group_rows = static_cast<int>(DivideUp(rows, DivideUp(rows, most)));
    char* packed = ActivationScratch(rows * kernels_.row_bytes(depth_));
    PackActivations(args.x + row * args.x_stride, args.x_stride, rows, group_rows, packed, pool);
    pool.ParallelFor(DivideUp(panel_count_, kPanelsPerTask), [&](int64_t task, int) {
      const int64_t panel = task * kPanelsPerTask;
      const int64_t output = panel * kernels_.layout.panel_width;
      GemmBlock b;
      b.activations = packed;
      b.rows = rows;
      b.group_rows = group_rows;
      b.depth = depth_;
      b.panels = panels_.data() + panel * panel_bytes_;
      b.panel_bytes = panel_bytes_;
      b.panel_count = static_cast<int>(std::min<int64_t>(kPanelsPerTask, panel_count_ - panel));
      b.outputs = static_cast<int>(std::min<int64_t>(b.panel_count * kernels_.layout.panel_width, out_ - output));
      b.weight_scale = scales_.empty() ? nullptr : scales_.data() + output;
      b.bias = args.bias == nullptr ? nullptr : args.bias + output;
      b.activation = static_cast<int>(args.activation);
      b.accumulate = args.accumulate;
      b.y = args.y + row * args.y_stride + output;
      b.y_stride = args.y_stride;
      kernels_.multiply(b);
    });
  }

  void PackActivations(const float* x, int64_t stride, int rows, int group_rows, char* packed, ThreadPool& pool) const {
    const int64_t group_bytes = group_rows * kernels_.row_bytes(depth_);
    pool.ParallelFor(DivideUp(rows, group_rows), [&](int64_t group, int) {
      const int64_t first = group * group_rows;
      kernels_.pack_activations(x + first * stride, stride, static_cast<int>(std::min<int64_t>(group_rows, rows - first)),
                                in_, depth_, packed + group * group_bytes);
    });
  }

  const GemmKernels& kernels_;
  const DType dtype_;
  const int64_t in_;
  const int64_t out_;
  const int64_t depth_;  // in, padded
  const int64_t panel_count_;
  const int64_t panel_bytes_;
  Pages panels_;
  std::vector<float> scales_;  // int8: by output, padded to whole panels
};

absl::Status CheckSource(const WeightSource& source) {
  if (source.data == nullptr) return absl::InvalidArgumentError("weight matrix without data");
  constexpr int64_t kLargest = int64_t{1} << 31;
  if (source.in <= 0 || source.out <= 0 || source.in >= kLargest || source.out >= kLargest) {
    return absl::InvalidArgumentError(absl::StrCat("weight matrix of ", source.in, " inputs by ", source.out,
                                                   " outputs: both must be in 1 .. 2^31 - 1"));
  }
  if (source.dtype == SourceDType::kI8 && source.scale == nullptr) {
    return absl::InvalidArgumentError("int8 weights need one scale for each output");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackedMatrix::Pack(const WeightSource& source, DType dtype, CpuIsa isa,
                                                                 ThreadPool& pool) {
  if (absl::Status status = CheckSource(source); !status.ok()) return status;
  auto matrix = std::make_unique<CpuMatrix>(source, dtype, isa);
  if (!matrix->allocated()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for packed weights of ", matrix->bytes(), " bytes"));
  }
  matrix->Fill(source, pool);
  return matrix;
}

}  // namespace precis::kernels
