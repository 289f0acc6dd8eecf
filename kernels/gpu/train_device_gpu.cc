// Training on a GpuDevice: the kernels of kernels/backward, and for the forward pass those of inference. Attention's forward pass reads a paged cache: one layer's
// keys and values are written into pages that all layers use in turn. Products go to cuBLASLt; without it, or in f32, their gradients go through transposes to the one
// form that our own product has.

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/attention.h"
#include "kernels/gpu/product_library.h"
#include "kernels/train_device.h"

namespace precis::kernels {
namespace {

int64_t SizeOf(GpuType type) { return type == GpuType::kBf16 ? 2 : 4; }
int RoundTo8(int n) { return (n + 7) / 8 * 8; }

class GpuTrainDevice : public TrainDevice {
 public:
  GpuTrainDevice(std::shared_ptr<GpuDevice> device, Stream stream)
      : device_(std::move(device)), ops_(device_->ops()), train_(device_->train_ops()), stream_(stream) {}
  ~GpuTrainDevice() override {
    for (Buffer* b : {&workspace_, &a_, &b_, &pages_, &metadata_, &d_scores_}) device_->Free(b->data);
    device_->DeleteStream(stream_);
  }

  std::string_view kind() const override { return device_->kind(); }
  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    absl::StatusOr<void*> memory = device_->Allocate(bytes);
    if (!memory.ok()) return memory;
    sizes_.emplace_back(*memory, bytes);
    allocated_ += bytes;
    device_->Fill(*memory, 0, bytes, stream_);
    return memory;
  }
  void Free(void* memory) override {
    const auto at = std::find_if(sizes_.begin(), sizes_.end(), [memory](const auto& block) { return block.first == memory; });
    if (at == sizes_.end()) return;
    allocated_ -= at->second;
    sizes_.erase(at);
    Keep(device_->Synchronize(stream_));
    device_->Free(memory);
  }
  int64_t allocated_bytes() const override { return allocated_ + workspace_.bytes + a_.bytes + b_.bytes + pages_.bytes + metadata_.bytes + d_scores_.bytes; }
  void Upload(void* to, const void* from, int64_t bytes) override { device_->CopyToDevice(to, from, bytes, stream_); }
  absl::Status Download(void* to, const void* from, int64_t bytes) override {
    device_->CopyToHost(to, from, bytes, stream_);
    return Synchronize();
  }
  void Copy(void* to, const void* from, int64_t bytes) override { device_->CopyOnDevice(to, from, bytes, stream_); }
  void Clear(void* to, int64_t bytes) override { device_->Fill(to, 0, bytes, stream_); }
  absl::Status Synchronize() override {
    Keep(device_->Synchronize(stream_));
    return status_;
  }
  void SetSequences(absl::Span<const int32_t> begin, absl::Span<const int32_t> length) override;

  void Embed(const EmbedArgs& a) override { ops_.embed(a, stream_); }
  void ResidualNorm(const ResidualNormArgs& a) override {
    if (a.sum != a.x) Copy(a.sum, a.x, int64_t{a.rows} * a.width * 4);
    ops_.layer_norm({.x = a.sum, .delta = a.delta, .gain = a.gain, .bias = a.bias, .y = a.y, .type = a.type, .epsilon = a.epsilon, .rows = a.rows,
                     .width = a.width}, stream_);
  }
  void Product(const ProductArgs& args) override;
  void AttentionForward(const TrainAttentionArgs& args) override;
  void AttentionBackward(const TrainAttentionArgs& args) override;
  void Activate(const ActivationArgs& a) override { train_.activation_forward(a, stream_); }
  void ActivationBackward(const ActivationBackwardArgs& a) override { train_.activation_backward(a, stream_); }
  void LayerNormBackward(LayerNormBackwardArgs a) override {
    a.workspace = Grow(&workspace_, train_.layer_norm_backward_workspace_bytes(a.rows, a.width));
    if (status_.ok()) train_.layer_norm_backward(a, stream_);
  }
  void BiasBackward(BiasBackwardArgs a) override {
    a.workspace = Grow(&workspace_, train_.bias_backward_workspace_bytes(a.rows, a.width));
    if (status_.ok()) train_.bias_backward(a, stream_);
  }
  void EmbeddingBackward(const EmbeddingBackwardArgs& a) override { train_.embedding_backward(a, stream_); }
  void CrossEntropy(const CrossEntropyArgs& a) override { train_.cross_entropy(a, stream_); }
  void Dropout(const DropoutArgs& a) override { train_.dropout(a, stream_); }
  void Convert(const ConvertArgs& a) override {
    if (a.rate > 0 || a.x != a.y) train_.convert(a, stream_);
  }
  void AdamW(const AdamWArgs& a) override { train_.adamw(a, stream_); }
  void SquaredNorm(SquaredNormArgs a) override {
    a.workspace = Grow(&workspace_, train_.squared_norm_workspace_bytes(a.count));
    if (status_.ok()) train_.squared_norm(a, stream_);
  }
  void ClipScale(const ClipScaleArgs& a) override { train_.clip_scale(a, stream_); }

 private:
  struct Buffer {
    void* data = nullptr;
    int64_t bytes = 0;
  };
  void Keep(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }
  // At least that many bytes; nothing enqueued may still use the old ones, which it waits for. Null, with the reason in status_, where there is no memory.
  void* Grow(Buffer* buffer, int64_t bytes) {
    if (bytes <= buffer->bytes) return buffer->data;
    Keep(device_->Synchronize(stream_));
    device_->Free(buffer->data);
    *buffer = {};
    absl::StatusOr<void*> memory = device_->Allocate(bytes);
    Keep(memory.status());
    if (memory.ok()) *buffer = {*memory, bytes};
    return buffer->data;
  }
  bool ProductByLibrary(const ProductArgs& p);
  StandardAttentionArgs Standard(const TrainAttentionArgs& args);
  // x [rows][columns] as [columns][rows padded to 8 with zeros].
  const void* Transposed(const void* x, int64_t stride, int rows, int columns, int padded, GpuType type, Buffer* to);
  template <class Number>
  Number* Metadata(int64_t offset) {
    return reinterpret_cast<Number*>(static_cast<char*>(metadata_.data) + offset);
  }

  const std::shared_ptr<GpuDevice> device_;
  const GpuOps& ops_;
  const GpuTrainOps& train_;
  const Stream stream_;
  absl::Status status_;
  std::vector<std::pair<void*, int64_t>> sizes_;
  int64_t allocated_ = 0;
  Buffer workspace_, a_, b_, pages_, metadata_, d_scores_;

  // Of the sequences: offsets in metadata_.
  int64_t begin_at_ = 0, length_at_ = 0, slots_at_ = 0, table_at_ = 0, squares_at_ = 0, page_count_ = 0;
  std::vector<int32_t> lengths_;
  int sequences_ = 0, rows_ = 0, longest_ = 0, table_stride_ = 0;
};

void GpuTrainDevice::SetSequences(absl::Span<const int32_t> begin, absl::Span<const int32_t> length) {
  sequences_ = static_cast<int>(begin.size());
  rows_ = sequences_ == 0 ? 0 : begin.back() + length.back();
  longest_ = sequences_ == 0 ? 0 : *std::max_element(length.begin(), length.end());
  table_stride_ = (longest_ + kPageTokens - 1) / kPageTokens;
  std::vector<int64_t> slots(rows_);
  std::vector<int32_t> table(static_cast<size_t>(sequences_) * table_stride_, 0);
  page_count_ = 0;
  for (int s = 0; s < sequences_; ++s) {
    const int pages = (length[s] + kPageTokens - 1) / kPageTokens;
    for (int p = 0; p < pages; ++p) table[static_cast<size_t>(s) * table_stride_ + p] = static_cast<int32_t>(page_count_ + p);
    for (int i = 0; i < length[s]; ++i) slots[begin[s] + i] = page_count_ * kPageTokens + i;
    page_count_ += pages;
  }
  const auto align = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  begin_at_ = 0;
  length_at_ = align(sequences_ * 4);
  slots_at_ = length_at_ + align(sequences_ * 4);
  table_at_ = slots_at_ + align(int64_t{rows_} * 8);
  const int64_t table_bytes = static_cast<int64_t>(table.size()) * 4;
  squares_at_ = table_at_ + align(table_bytes);
  Grow(&metadata_, squares_at_ + align(int64_t{sequences_} * 8));
  if (!status_.ok()) return;
  Upload(Metadata<char>(begin_at_), begin.data(), int64_t{sequences_} * 4);
  Upload(Metadata<char>(length_at_), length.data(), int64_t{sequences_} * 4);
  Upload(Metadata<char>(slots_at_), slots.data(), int64_t{rows_} * 8);
  Upload(Metadata<char>(table_at_), table.data(), table_bytes);
  lengths_.assign(length.begin(), length.end());
}

const void* GpuTrainDevice::Transposed(const void* x, int64_t stride, int rows, int columns, int padded, GpuType type, Buffer* to) {
  const int64_t bytes = int64_t{columns} * padded * SizeOf(type);
  void* y = Grow(to, bytes);
  if (!status_.ok()) return nullptr;
  if (padded != rows) Clear(y, bytes);
  train_.transpose({.x = x, .x_stride = stride, .y = y, .y_stride = padded, .type = type, .rows = rows, .columns = columns}, stream_);
  return y;
}

bool GpuTrainDevice::ProductByLibrary(const ProductArgs& p) {
  if (device_->kind() != "cuda" || p.type != GpuType::kBf16) return false;
  bool failed = false;
  void* workspace = Grow(&workspace_, kProductWorkspaceBytes);
  const bool taken = status_.ok() && LibraryProduct(p, workspace, stream_, &failed);
  if (failed) Keep(absl::InternalError(absl::StrCat("cuBLASLt refused a product of ", p.m, " x ", p.n, " x ", p.k)));
  return taken;
}

void GpuTrainDevice::Product(const ProductArgs& p) {
  if (ProductByLibrary(p)) return;
  GemmArgs g = {};
  // Depth is padded with zeros to what the tensor cores take, where both operands have room for it.
  const int padded = RoundTo8(p.k);
  const bool pad = (p.a_transposed || p.a_stride >= padded) && !p.b_transposed;
  g.k = pad ? padded : p.k;
  g.x = p.a_transposed ? Transposed(p.a, p.a_stride, p.k, p.m, g.k, p.type, &a_) : p.a;
  g.x_stride = p.a_transposed ? g.k : p.a_stride;
  if (!p.b_transposed) {
    g.w = Transposed(p.b, p.b_stride, p.k, p.n, g.k, p.type, &b_);
  } else if (p.b_stride == p.k) {
    g.w = p.b;
  } else {
    return Keep(absl::InternalError(absl::StrCat("a product's transposed operand must be packed: stride ", p.b_stride, ", depth ", p.k)));
  }
  g.m = p.m, g.n = p.n;
  g.bias = p.bias;
  g.y = p.c;
  g.y_stride = p.c_stride;
  g.x_type = g.w_type = p.type;
  g.y_type = p.accumulate ? GpuType::kF32 : p.type;
  g.accumulate = p.accumulate;
  g.mode = GemmMode::kFast;
  g.workspace_bytes = ops_.gemm_workspace_bytes(g.m, g.n, g.k, g.mode);
  g.workspace = Grow(&workspace_, g.workspace_bytes);
  if (status_.ok()) ops_.gemm(g, stream_);
}

StandardAttentionArgs GpuTrainDevice::Standard(const TrainAttentionArgs& a) {
  std::vector<int64_t> squares(lengths_.size());
  int64_t floats = 0;
  for (size_t s = 0; s < lengths_.size(); ++s) {
    squares[s] = floats;
    floats += int64_t{lengths_[s]} * lengths_[s] * a.heads;
  }
  Upload(Metadata<char>(squares_at_), squares.data(), static_cast<int64_t>(squares.size()) * 8);
  const int64_t width = int64_t{a.heads} * a.head_dim;
  return {.qkv = a.qkv, .qkv_stride = 3 * width, .output = a.output, .d_output = a.d_output, .output_stride = width, .d_qkv = a.d_qkv,
          .probabilities = a.probabilities, .d_scores = a.d_qkv == nullptr ? nullptr : static_cast<float*>(Grow(&d_scores_, floats * 4)),
          .begin = Metadata<int32_t>(begin_at_), .length = Metadata<int32_t>(length_at_), .square_begin = Metadata<int64_t>(squares_at_),
          .sequences = sequences_, .max_length = longest_, .heads = a.heads, .head_dim = a.head_dim, .scale = a.scale, .alibi_slopes = a.alibi_slopes,
          .type = a.type};
}

void GpuTrainDevice::AttentionForward(const TrainAttentionArgs& a) {
  if (a.probabilities != nullptr) {
    if (status_.ok() && sequences_ > 0) train_.standard_attention_forward(Standard(a), stream_);
    return;
  }
  const int64_t width = int64_t{a.heads} * a.head_dim, part = kPageTokens * width * SizeOf(a.type);
  char* pages = static_cast<char*>(Grow(&pages_, page_count_ * 2 * part));
  if (!status_.ok() || sequences_ == 0) return;
  GpuAttentionArgs g = {};
  g.cache = {.keys = pages, .values = pages + part, .page_stride = 2 * part, .type = a.type, .heads = a.heads, .head_dim = a.head_dim, .arena = pages,
             .part_bytes = part, .pages = page_count_, .parts = 2, .key_part = 0};
  ops_.write_kv({.qkv = a.qkv, .qkv_stride = 3 * width, .slots = Metadata<int64_t>(slots_at_), .cache = g.cache, .rows = rows_}, stream_);
  g.qkv = a.qkv;
  g.qkv_stride = 3 * width;
  g.qkv_rows = rows_;
  g.output = a.output;
  g.output_stride = width;
  g.log_sum_exp = a.log_sum_exp;
  g.sequences = {.query_begin = Metadata<int32_t>(begin_at_), .query_count = Metadata<int32_t>(length_at_), .context_length = Metadata<int32_t>(length_at_),
                 .block_table = Metadata<int32_t>(table_at_), .block_table_stride = table_stride_, .count = sequences_, .max_query = longest_,
                 .max_context = longest_, .total_queries = rows_};
  g.scale = a.scale;
  g.alibi_slopes = a.alibi_slopes;
  g.mode = GemmMode::kFast;
  g.workspace_bytes = ops_.flash_prefill_workspace_bytes(a.heads, a.head_dim, sequences_, longest_, longest_, a.alibi_slopes != nullptr);
  g.workspace = Grow(&workspace_, g.workspace_bytes);
  if (status_.ok()) ops_.flash_prefill(g, stream_);
}

void GpuTrainDevice::AttentionBackward(const TrainAttentionArgs& a) {
  if (sequences_ == 0) return;
  if (a.probabilities != nullptr) {
    const StandardAttentionArgs standard = Standard(a);
    if (status_.ok()) train_.standard_attention_backward(standard, stream_);
    return;
  }
  const int64_t width = int64_t{a.heads} * a.head_dim;
  FlashBackwardArgs f = {};
  f.qkv = a.qkv;
  f.qkv_stride = 3 * width;
  f.output = a.output;
  f.d_output = a.d_output;
  f.output_stride = width;
  f.log_sum_exp = a.log_sum_exp;
  f.lse_stride = rows_;
  f.d_qkv = a.d_qkv;
  f.begin = Metadata<int32_t>(begin_at_);
  f.length = Metadata<int32_t>(length_at_);
  f.sequences = sequences_;
  f.max_length = longest_;
  f.rows = rows_;
  f.heads = a.heads;
  f.head_dim = a.head_dim;
  f.scale = a.scale;
  f.alibi_slopes = a.alibi_slopes;
  f.type = a.type;
  f.deterministic = true;
  f.workspace = Grow(&workspace_, train_.flash_backward_workspace_bytes(rows_, a.heads, a.head_dim, true));
  if (status_.ok()) train_.flash_backward(f, stream_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainDevice>> OpenGpuTrainDevice(std::shared_ptr<GpuDevice> device) {
  absl::StatusOr<Stream> stream = device->NewStream();
  if (!stream.ok()) return stream.status();
  return std::unique_ptr<TrainDevice>(std::make_unique<GpuTrainDevice>(std::move(device), *stream));
}

}  // namespace precis::kernels
