#include <sys/mman.h>

#include <algorithm>

#include "kernels/cpu/train/train_product.h"

namespace precis::kernels {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t SizeOf(GpuType type) { return type == GpuType::kBf16 ? 2 : 4; }

const char* At(const void* base, int64_t elements, GpuType type) { return static_cast<const char*>(base) + elements * SizeOf(type); }

}  // namespace

Scratch::~Scratch() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

float* Scratch::Floats(int64_t count) {
  const int64_t bytes = DivideUp(count * 4, 1 << 16) * (1 << 16);
  if (bytes > bytes_) {
    if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
    data_ = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes >= (2 << 20)) madvise(data_, static_cast<size_t>(bytes), MADV_HUGEPAGE);
    bytes_ = bytes;
  }
  return static_cast<float*>(data_);
}

TrainProduct::TrainProduct(CpuIsa isa, ThreadPool* pool)
    : gemm_(KernelsFor(isa).gemm[static_cast<int>(DType::kF32)]), train_(TrainKernelsFor(isa)), pool_(pool), group_rows_(gemm_.max_group_rows),
      c_(pool->threads()) {}

int64_t TrainProduct::bytes() const {
  int64_t bytes = a_.bytes() + b_.bytes();
  for (const Scratch& c : c_) bytes += c.bytes();
  return bytes;
}

void TrainProduct::Run(const ProductArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  const int64_t step = args.accumulate ? kDepthBlock : args.k;
  for (int64_t begin = 0; begin < args.k; begin += step) RunDepth(args, begin, std::min<int64_t>(step, args.k - begin));
}

void TrainProduct::RunDepth(const ProductArgs& args, int64_t begin, int64_t depth) {
  PackB(args, begin, depth);
  for (int64_t row = 0; row < args.m; row += kRowsAtOnce) {
    const int rows = static_cast<int>(std::min<int64_t>(kRowsAtOnce, args.m - row));
    PackA(args, begin, depth, row, rows);
    Multiply(args, depth, row, rows);
  }
}

void TrainProduct::PackB(const ProductArgs& args, int64_t begin, int64_t depth) {
  const int width = gemm_.layout.panel_width;
  float* packed = b_.Floats(DivideUp(args.n, width) * width * depth + 4096);  // the kernel prefetches past the end
  pool_->ParallelFor(DivideUp(args.n, width), [&](int64_t panel, int) {
    const int64_t column = panel * width;
    const int64_t at = args.b_transposed ? column * args.b_stride + begin : begin * args.b_stride + column;
    train_.pack_panel(At(args.b, at, args.type), args.b_stride, args.b_transposed, args.type == GpuType::kBf16,
                      static_cast<int>(std::min<int64_t>(width, args.n - column)), depth, packed + column * depth);
  });
}

void TrainProduct::PackA(const ProductArgs& args, int64_t begin, int64_t depth, int64_t row, int rows) {
  float* packed = a_.Floats(int64_t{kRowsAtOnce} * depth);
  pool_->ParallelFor(DivideUp(rows, group_rows_), [&](int64_t group, int) {
    const int64_t first = group * group_rows_;
    const int64_t at = args.a_transposed ? begin * args.a_stride + row + first : (row + first) * args.a_stride + begin;
    train_.pack_rows(At(args.a, at, args.type), args.a_stride, args.a_transposed, args.type == GpuType::kBf16,
                     static_cast<int>(std::min<int64_t>(group_rows_, rows - first)), depth, packed + first * depth);
  });
}

void TrainProduct::Multiply(const ProductArgs& args, int64_t depth, int64_t row, int rows) {
  const int width = gemm_.layout.panel_width;
  const int64_t panels = DivideUp(args.n, width), quads = DivideUp(panels, kPanelsPerTask), blocks = DivideUp(rows, kGemmRows);
  const float *a = a_.Floats(0), *b = b_.Floats(0);
  const bool round = args.type == GpuType::kBf16 && !args.accumulate;
  pool_->ParallelFor(quads * blocks, [&](int64_t task, int worker) {
    const int64_t panel = task / blocks * kPanelsPerTask, first = task % blocks * kGemmRows;
    GemmBlock g;
    g.activations = reinterpret_cast<const char*>(a + first * depth);
    g.rows = static_cast<int>(std::min<int64_t>(kGemmRows, rows - first));
    g.group_rows = group_rows_;
    g.depth = depth;
    g.panels = reinterpret_cast<const char*>(b + panel * width * depth);
    g.panel_bytes = depth * width * 4;
    g.panel_count = static_cast<int>(std::min<int64_t>(kPanelsPerTask, panels - panel));
    g.outputs = static_cast<int>(std::min<int64_t>(int64_t{g.panel_count} * width, args.n - panel * width));
    g.bias = args.bias == nullptr ? nullptr : args.bias + panel * width;
    g.accumulate = args.accumulate;
    char* c = const_cast<char*>(At(args.c, (row + first) * args.c_stride + panel * width, args.accumulate ? GpuType::kF32 : args.type));
    g.y = round ? c_[worker].Floats(int64_t{kGemmRows} * kPanelsPerTask * width) : reinterpret_cast<float*>(c);
    g.y_stride = round ? kPanelsPerTask * width : args.c_stride;
    gemm_.multiply(g);
    for (int r = 0; round && r < g.rows; ++r) train_.convert(g.y + r * g.y_stride, false, c + 2 * r * args.c_stride, true, g.outputs);
  });
}

}  // namespace precis::kernels
