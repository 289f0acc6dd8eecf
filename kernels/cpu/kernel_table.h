#ifndef PRECIS_KERNELS_CPU_KERNEL_TABLE_H_
#define PRECIS_KERNELS_CPU_KERNEL_TABLE_H_

#include <cstdint>

// What the kernels of each instruction set export: plain functions over plain structs, each one task of one thread. Everything about threads, scratch
// and the public interface is in <op>_cpu.cc, which is compiled for the base instruction set. (Nothing from the standard library or Abseil may
// be instantiated in the isa_*.cc files: the linker might keep that copy for everybody.)
namespace precis::kernels {

// ---- Attention ----

inline constexpr int kQueryBlock = 48;  // rows of one task; a multiple of every kMaxRows
inline constexpr int kTileTokens = 128;  // keys of one tile, at absolute positions; whole pages
inline constexpr int kMaxHeadDim = 256;

// Floats from one row of outputs in scratch to the next.
constexpr int PaddedHeadDim(int head_dim) { return (head_dim + 15) / 16 * 16; }

// Scratch of a task: queries, one tile of scores, outputs, row maxima and row sums.
constexpr int64_t AttentionScratchBytes(int head_dim) {
  return static_cast<int64_t>(sizeof(float)) * kQueryBlock *
         (kTileTokens + 2 * PaddedHeadDim(head_dim) + 2);
}

// Up to kQueryBlock consecutive rows of one head of one sequence.
struct AttentionBlock {
  const float* query = nullptr;  // of this head, first row
  int64_t query_stride = 0;
  float* output = nullptr;
  int64_t output_stride = 0;
  int rows = 0;
  int first_position = 0;        // of the first row, absolute
  const char* keys = nullptr;    // of this head, in page 0
  const char* values = nullptr;
  int64_t page_stride = 0;       // bytes
  const int32_t* block_table = nullptr;
  bool bf16 = false;
  int head_dim = 0;
  float scale = 0;
  float slope = 0;
  char* scratch = nullptr;  // AttentionScratchBytes
  // Materialised only.
  float* scores = nullptr;  // [rows][scores_stride]
  int64_t scores_stride = 0;
  float* sums = nullptr;  // [rows]
};

using AttentionFunction = void (*)(const AttentionBlock&);

struct AttentionKernels {
  AttentionFunction tiled = nullptr;
  AttentionFunction scores = nullptr;   // writes the scores of all keys up to the last row's
  AttentionFunction softmax = nullptr;  // in place, unnormalised; sums of each row
  AttentionFunction values = nullptr;   // output = scores . values / sums
};

// ---- Matrix products ----

// A panel holds the weights of `panel_width` outputs, `unit` consecutive inputs of one output side by side:
// [depth / unit][panel_width][unit]. Inputs are padded with zero weights to a multiple of `depth_multiple`.
struct PanelLayout {
  int panel_width = 0;
  int unit = 1;
  int depth_multiple = 1;
  int int8_xor = 0;
};

// Activations packed for the micro-kernels: groups of `group_rows` rows (the last may have fewer), one after the other,
// row_bytes for each row.
struct GemmBlock {
  const char* activations = nullptr;
  int rows = 0;
  int group_rows = 0;
  int64_t depth = 0;  // padded
  const char* panels = nullptr;  // the first panel of the task
  int64_t panel_bytes = 0;
  int panel_count = 0;
  int outputs = 0;  // of these panels, <= panel_count * panel_width
  const float* weight_scale = nullptr;  // int8: of the first output, padded to whole panels
  const float* bias = nullptr;          // of the first output, or null
  int activation = 0;                   // Activation
  bool accumulate = false;
  float* y = nullptr;  // first row, first output
  int64_t y_stride = 0;
};

inline constexpr int kPanelsPerTask = 4;
inline constexpr int kGemmRows = 192;  // rows packed at a time; a multiple of every kMaxRows

struct GemmKernels {
  PanelLayout layout;
  int max_group_rows = 0;
  int64_t (*row_bytes)(int64_t depth) = nullptr;  // of packed activations
  // Packs `rows` <= max_group_rows rows of `in` floats into one group.
  void (*pack_activations)(const float* x, int64_t x_stride, int rows, int64_t in, int64_t depth, char* out) = nullptr;
  void (*multiply)(const GemmBlock& block) = nullptr;
};

// ---- All ----

inline constexpr int kMaxVariants = 16;

struct CpuKernels {
  AttentionKernels attention[kMaxVariants];  // by index in AttentionVariants()
  GemmKernels gemm[3];                       // by DType
  void (*layer_norm)(const float* x, const float* gain, const float* bias, float epsilon, int64_t size, float* y) = nullptr;
  int64_t (*arg_max)(const float* values, int64_t size) = nullptr;
};

namespace portable {
const CpuKernels& Kernels();
}
namespace avx2 {
const CpuKernels& Kernels();
}
namespace avx512 {
const CpuKernels& Kernels();
}

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_CPU_KERNEL_TABLE_H_
