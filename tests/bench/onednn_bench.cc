// precis-onednn-bench: our matrix products beside oneDNN's (f32, its weights in the form that it likes best), taking turns of a tenth of a second in one process, so that drift of the
// machine falls on both. Prints a line a product: rows, microseconds of each, and the ratio (above 1: ours is faster).
//
//   OMP_NUM_THREADS=2 precis-onednn-bench
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "kernels/ops.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using precis::kernels::PackedMatrix;

constexpr int64_t kStreamedBytes = int64_t{64} << 20;  // copies of a matrix, so that few rows read it from memory as in a model

std::vector<float> Random(size_t count) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

class OneDnn {
 public:
  OneDnn(const std::vector<float>& weights, int64_t in, int64_t out, int64_t rows, int copies)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), x_(Random(rows * in)), y_(rows * out) {
    using dnnl::memory;
    const auto f32 = memory::data_type::f32;
    const memory::desc source({rows, in}, f32, memory::format_tag::ab), result({rows, out}, f32, memory::format_tag::ab);
    const memory::desc any({in, out}, f32, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(source, any, result), engine_);
    product_ = dnnl::matmul(description);
    memory plain({{in, out}, f32, memory::format_tag::ab}, engine_, const_cast<float*>(weights.data()));
    for (int i = 0; i < copies; ++i) {
      weights_.emplace_back(description.weights_desc(), engine_);
      dnnl::reorder(plain, weights_.back()).execute(stream_, plain, weights_.back());
    }
    stream_.wait();
    source_ = memory(source, engine_, x_.data());
    result_ = memory(result, engine_, y_.data());
  }

  const std::vector<float>& x() const { return x_; }
  const std::vector<float>& y() const { return y_; }

  void Run() {
    product_.execute(stream_, {{DNNL_ARG_SRC, source_}, {DNNL_ARG_WEIGHTS, weights_[next_]}, {DNNL_ARG_DST, result_}});
    stream_.wait();
    next_ = (next_ + 1) % weights_.size();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<float> x_, y_;
  dnnl::matmul product_;
  std::vector<dnnl::memory> weights_;
  dnnl::memory source_, result_;
  size_t next_ = 0;
};

// Calls of `body` for a tenth of a second. Threads of both sides spin for a while after their work, so the other side's are given time to fall asleep.
void MeasureBlock(const auto& body, std::vector<double>* microseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  body();
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    body();
    microseconds->push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  } while (Clock::now() - start < std::chrono::milliseconds(100));
}

void Compare(precis::kernels::ThreadPool& pool, const char* name, int64_t in, int64_t out, int64_t rows) {
  const int copies = static_cast<int>(std::max<int64_t>(1, kStreamedBytes / (in * out * 4)));
  const std::vector<float> weights = Random(in * out);
  OneDnn peer(weights, in, out, rows, copies);
  std::vector<std::unique_ptr<PackedMatrix>> ours;
  for (int i = 0; i < copies; ++i) {
    auto packed = PackedMatrix::Pack({.data = weights.data(), .in = in, .out = out}, precis::kernels::DType::kF32,
                                     precis::kernels::BestCpuIsa(), pool);
    if (!packed.ok()) std::exit(1);
    ours.push_back(*std::move(packed));
  }
  std::vector<float> y(rows * out);
  const PackedMatrix::Args args = {.x = peer.x().data(), .x_stride = in, .y = y.data(), .y_stride = out, .rows = rows};
  std::vector<double> times[2];
  size_t next = 0;
  for (int i = 0; i < 7; ++i) {
    MeasureBlock([&] { ours[next++ % copies]->Multiply(args, pool); }, &times[0]);
    MeasureBlock([&] { peer.Run(); }, &times[1]);
  }
  for (auto& list : times) std::nth_element(list.begin(), list.begin() + list.size() / 2, list.end());
  float difference = 0;
  for (size_t i = 0; i < y.size(); ++i) difference = std::max(difference, std::abs(y[i] - peer.y()[i]));
  const double a = times[0][times[0].size() / 2], b = times[1][times[1].size() / 2];
  std::printf("%-5s %5ld x %-6ld %4ld rows: ours %9.1f us %6.1f GFLOP/s, oneDNN %9.1f us %6.1f GFLOP/s, ratio %.2f (largest difference %.1g)\n", name,
              static_cast<long>(in), static_cast<long>(out), static_cast<long>(rows), a, 2e-3 * rows * in * out / a, b, 2e-3 * rows * in * out / b, b / a,
              difference);
  std::fflush(stdout);
}

}  // namespace

int main() {
  const char* threads = std::getenv("OMP_NUM_THREADS");
  precis::kernels::ThreadPool pool(threads != nullptr ? std::atoi(threads) : 2);
  for (const auto& [name, in, out] : {std::tuple("qkv", 768, 2304), {"proj", 768, 768}, {"up", 768, 3072}, {"down", 3072, 768}}) {
    for (const int rows : {1, 4, 16, 128, 512}) Compare(pool, name, in, out, rows);
  }
  Compare(pool, "head", 768, 50257, 1);
  Compare(pool, "head", 768, 50257, 16);
}
