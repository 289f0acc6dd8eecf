#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/train/train_product.h"
#include "kernels/train_device.h"

namespace precis::kernels {
namespace {

// Rows whose partial sums are added one after the other; the parts are added in order.
constexpr int64_t kRowsAPart = 64;
constexpr int64_t kSpan = 1 << 14;  // elements of a task of an element-by-element operation; a multiple of 4

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
bool IsBf16(GpuType type) { return type == GpuType::kBf16; }
const char* At(const void* base, int64_t elements, GpuType type) { return static_cast<const char*>(base) + elements * (IsBf16(type) ? 2 : 4); }
char* At(void* base, int64_t elements, GpuType type) { return static_cast<char*>(base) + elements * (IsBf16(type) ? 2 : 4); }

class CpuTrainDevice : public TrainDevice {
 public:
  CpuTrainDevice(CpuIsa isa, int threads) : pool_(threads), kernels_(TrainKernelsFor(isa)), product_(isa, &pool_), workers_(threads) {}
  ~CpuTrainDevice() override {
    for (const auto& [memory, bytes] : blocks_) std::free(memory);
  }

  std::string_view kind() const override { return "cpu"; }
  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    const int64_t rounded = DivideUp(std::max<int64_t>(bytes, 1), 64) * 64;
    void* memory = std::aligned_alloc(64, static_cast<size_t>(rounded));
    if (memory == nullptr) return absl::ResourceExhaustedError(absl::StrCat("the system has no ", bytes, " bytes of memory"));
    std::memset(memory, 0, static_cast<size_t>(rounded));
    blocks_[memory] = bytes;
    allocated_ += bytes;
    return memory;
  }
  void Free(void* memory) override {
    const auto at = blocks_.find(memory);
    if (at == blocks_.end()) return;
    allocated_ -= at->second;
    blocks_.erase(at);
    std::free(memory);
  }
  int64_t allocated_bytes() const override {
    int64_t bytes = allocated_ + product_.bytes() + parts_.bytes();
    for (const Scratch& s : workers_) bytes += s.bytes();
    return bytes;
  }
  void Upload(void* to, const void* from, int64_t bytes) override { Move(to, from, bytes); }
  absl::Status Download(void* to, const void* from, int64_t bytes) override {
    Move(to, from, bytes);
    return absl::OkStatus();
  }
  void Copy(void* to, const void* from, int64_t bytes) override { Move(to, from, bytes); }
  void Clear(void* to, int64_t bytes) override { std::memset(to, 0, static_cast<size_t>(bytes)); }
  absl::Status Synchronize() override { return absl::OkStatus(); }

  void SetSequences(absl::Span<const int32_t> begin, absl::Span<const int32_t> length) override {
    begin_.assign(begin.begin(), begin.end());
    length_.assign(length.begin(), length.end());
    rows_ = begin_.empty() ? 0 : begin_.back() + length_.back();
  }

  void Embed(const EmbedArgs& a) override;
  void ResidualNorm(const ResidualNormArgs& a) override {
    ForRows(a.rows, [&](int64_t r) {
      const int64_t at = r * a.width;
      kernels_.norm(a.x + at, a.delta == nullptr ? nullptr : At(a.delta, at, a.type), a.gain, a.bias, a.epsilon, a.width, IsBf16(a.type), a.sum + at,
                    At(a.y, at, a.type));
    });
  }
  void Product(const ProductArgs& args) override { product_.Run(args); }
  void AttentionForward(const TrainAttentionArgs& args) override { Attend(args, kernels_.attention_forward); }
  void AttentionBackward(const TrainAttentionArgs& args) override { Attend(args, kernels_.attention_backward); }
  void Activate(const ActivationArgs& a) override {
    ForSpans(a.count, [&](int64_t at, int64_t count) {
      kernels_.activate(At(a.x, at, a.type), At(a.y, at, a.type), IsBf16(a.type), static_cast<int>(a.activation), count);
    });
  }
  void ActivationBackward(const ActivationBackwardArgs& a) override {
    ForSpans(a.count, [&](int64_t at, int64_t count) {
      kernels_.activation_backward(At(a.x, at, a.type), At(a.dy, at, a.type), At(a.dx, at, a.type), IsBf16(a.type), static_cast<int>(a.activation), count);
    });
  }
  void LayerNormBackward(LayerNormBackwardArgs a) override;
  void BiasBackward(BiasBackwardArgs a) override;
  void EmbeddingBackward(const EmbeddingBackwardArgs& a) override;
  void CrossEntropy(const CrossEntropyArgs& a) override;
  void Dropout(const DropoutArgs& a) override {
    ForSpans(a.count, [&](int64_t at, int64_t count) {
      kernels_.dropout(At(a.x, at, a.type), IsBf16(a.type), At(a.y, at, a.type), IsBf16(a.type), a.seed, a.stream, a.rate, at, count);
    });
  }
  void Convert(const ConvertArgs& a) override {
    ForSpans(a.count, [&](int64_t at, int64_t count) {
      if (a.rate > 0) {
        kernels_.dropout(a.x + at, false, At(a.y, at, a.type), IsBf16(a.type), a.seed, a.stream, a.rate, at, count);
      } else if (a.x != a.y) {
        kernels_.convert(a.x + at, false, At(a.y, at, a.type), IsBf16(a.type), count);
      }
    });
  }
  void AdamW(const AdamWArgs& a) override;
  void SquaredNorm(SquaredNormArgs a) override;
  void ClipScale(const ClipScaleArgs& a) override {
    const double norm = std::sqrt(*a.squared_norm);
    *a.finite = std::isfinite(norm) ? 1 : 0;
    *a.scale = *a.finite == 0 ? 0.0f : a.max_norm > 0 && norm > a.max_norm ? a.base * static_cast<float>(a.max_norm / norm) : a.base;
  }

 private:
  static void Move(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
  }
  template <class Body>
  void ForRows(int64_t rows, Body body) {
    constexpr int64_t kRowsATask = 16;
    pool_.ParallelFor(DivideUp(rows, kRowsATask), [&](int64_t task, int) {
      for (int64_t r = task * kRowsATask; r < std::min(rows, (task + 1) * kRowsATask); ++r) body(r);
    });
  }
  template <class Body>
  void ForSpans(int64_t count, Body body) {
    pool_.ParallelFor(DivideUp(count, kSpan), [&](int64_t task, int) { body(task * kSpan, std::min(kSpan, count - task * kSpan)); });
  }
  // Column sums by parts of kRowsAPart rows: fill(first row, end row, sums of the part [width]); then total[n] += parts in order.
  template <class Fill>
  void SumRows(int64_t rows, int64_t width, float* total, Fill fill);
  void Attend(const TrainAttentionArgs& args, void (*run)(const TrainAttentionTask&));

  ThreadPool pool_;
  const TrainKernels& kernels_;
  TrainProduct product_;
  std::unordered_map<void*, int64_t> blocks_;
  int64_t allocated_ = 0;
  std::vector<int32_t> begin_, length_;
  int64_t rows_ = 0;
  Scratch parts_;
  std::vector<Scratch> workers_;
};

void CpuTrainDevice::Embed(const EmbedArgs& a) {
  const bool bf16 = IsBf16(a.table_type);
  ForRows(a.rows, [&](int64_t r) {
    float* x = a.x + r * a.width;
    kernels_.convert(At(a.token_table, int64_t{a.tokens[r]} * a.width, a.table_type), bf16, x, false, a.width);
    if (a.position_table != nullptr) kernels_.add_row(At(a.position_table, int64_t{a.positions[r]} * a.width, a.table_type), bf16, a.width, x);
  });
}

template <class Fill>
void CpuTrainDevice::SumRows(int64_t rows, int64_t width, float* total, Fill fill) {
  const int64_t parts = DivideUp(rows, kRowsAPart);
  float* sums = parts_.Floats(parts * width);
  pool_.ParallelFor(parts, [&](int64_t part, int) {
    std::fill_n(sums + part * width, width, 0.0f);
    fill(part * kRowsAPart, std::min(rows, (part + 1) * kRowsAPart), sums + part * width);
  });
  constexpr int64_t kColumns = 256;
  pool_.ParallelFor(DivideUp(width, kColumns), [&](int64_t task, int) {
    const int64_t begin = task * kColumns, count = std::min(kColumns, width - begin);
    for (int64_t part = 0; part < parts; ++part) kernels_.add_row(sums + part * width + begin, false, count, total + begin);
  });
}

void CpuTrainDevice::LayerNormBackward(LayerNormBackwardArgs a) {
  // Gain's and bias's sums side by side, added to their places afterwards.
  std::vector<float> total(2 * static_cast<size_t>(a.width), 0.0f);
  SumRows(a.rows, 2 * int64_t{a.width}, total.data(), [&](int64_t begin, int64_t end, float* sums) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = r * a.width;
      kernels_.norm_backward(a.x + at, At(a.dy, at, a.type), a.gain, a.epsilon, a.width, IsBf16(a.type), a.dx + at, sums, sums + a.width);
    }
  });
  kernels_.add_row(total.data(), false, a.width, a.gain_gradient);
  kernels_.add_row(total.data() + a.width, false, a.width, a.bias_gradient);
}

void CpuTrainDevice::BiasBackward(BiasBackwardArgs a) {
  SumRows(a.rows, a.width, a.bias_gradient, [&](int64_t begin, int64_t end, float* sums) {
    for (int64_t r = begin; r < end; ++r) kernels_.add_row(At(a.dy, r * a.stride, a.type), IsBf16(a.type), a.width, sums);
  });
}

void CpuTrainDevice::EmbeddingBackward(const EmbeddingBackwardArgs& a) {
  pool_.ParallelFor(a.groups, [&](int64_t g, int) {
    float* total = a.table_gradient + int64_t{a.group_id[g]} * a.width;
    for (int32_t i = g == 0 ? 0 : a.group_end[g - 1]; i < a.group_end[g]; ++i) {
      kernels_.add_row(a.dx + int64_t{a.rows[i]} * a.width, false, a.width, total);
    }
  });
}

void CpuTrainDevice::CrossEntropy(const CrossEntropyArgs& a) {
  ForRows(a.rows, [&](int64_t r) {
    char* row = At(a.logits, r * a.stride, a.type);
    const float weight = a.weights == nullptr ? 1.0f : a.weights[r];
    if (a.targets[r] < 0 || weight == 0) {
      std::memset(row, 0, static_cast<size_t>(a.vocab) * (IsBf16(a.type) ? 2 : 4));
      a.loss[r] = 0;
      return;
    }
    a.loss[r] = weight * kernels_.cross_entropy(row, IsBf16(a.type), a.vocab, a.targets[r], a.gradient_scale * weight);
  });
}

void CpuTrainDevice::AdamW(const AdamWArgs& a) {
  const double step = static_cast<double>(a.step);
  const float correction1 = static_cast<float>(1 - std::pow(static_cast<double>(a.beta1), step));
  const float correction2 = static_cast<float>(1 - std::pow(static_cast<double>(a.beta2), step));
  const float scale = a.gradient_scale == nullptr ? 1.0f : *a.gradient_scale;
  ForSpans(a.count, [&](int64_t at, int64_t count) {
    kernels_.adamw(a.weights + at, a.working == nullptr ? nullptr : static_cast<uint16_t*>(a.working) + at, a.gradient + at, a.first + at, a.second + at,
                   scale, a.rate, a.beta1, a.beta2, a.epsilon, a.decay, correction1, correction2, count);
  });
}

void CpuTrainDevice::SquaredNorm(SquaredNormArgs a) {
  std::vector<double> parts(DivideUp(a.count, kSpan));
  ForSpans(a.count, [&](int64_t at, int64_t count) { parts[at / kSpan] = kernels_.squared_norm(a.values + at, count); });
  for (double part : parts) *a.sum += part;
}

void CpuTrainDevice::Attend(const TrainAttentionArgs& a, void (*run)(const TrainAttentionTask&)) {
  std::vector<int64_t> kept(begin_.size(), 0);  // of each sequence in probabilities
  for (size_t s = 1; s < kept.size(); ++s) kept[s] = kept[s - 1] + int64_t{a.heads} * length_[s - 1] * length_[s - 1];
  const int64_t width = int64_t{a.heads} * a.head_dim;
  pool_.ParallelFor(static_cast<int64_t>(begin_.size()) * a.heads, [&](int64_t task, int worker) {
    const int64_t s = task / a.heads, head = task % a.heads, row = begin_[s], length = length_[s];
    TrainAttentionTask t;
    t.qkv_stride = 3 * width;
    t.width = width;
    t.output_stride = width;
    t.qkv = At(a.qkv, row * t.qkv_stride + head * a.head_dim, a.type);
    t.output = At(a.output, row * width + head * a.head_dim, a.type);
    t.log_sum_exp = a.log_sum_exp + head * rows_ + row;
    if (a.d_output != nullptr) t.d_output = At(a.d_output, row * width + head * a.head_dim, a.type);
    if (a.d_qkv != nullptr) t.d_qkv = At(a.d_qkv, row * t.qkv_stride + head * a.head_dim, a.type);
    t.bf16 = IsBf16(a.type);
    t.length = static_cast<int>(length);
    t.head_dim = a.head_dim;
    t.scale = a.scale;
    t.slope = a.alibi_slopes == nullptr ? 0.0f : a.alibi_slopes[head];
    if (a.probabilities != nullptr) t.probabilities = a.probabilities + kept[s] + head * length * length;
    t.scratch = workers_[worker].Floats(kernels_.attention_scratch(t.length, a.head_dim));
    run(t);
  });
}

}  // namespace

std::unique_ptr<TrainDevice> OpenCpuTrainDevice(CpuIsa isa, int threads) { return std::make_unique<CpuTrainDevice>(isa, threads); }

}  // namespace precis::kernels
