#include "tests/oracle/oracle.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace precis::oracle {

std::vector<double> Attention(const std::vector<double>& query, const std::vector<double>& keys,
                              const std::vector<double>& values, int queries, int context, int head_dim, double scale,
                              double slope) {
  std::vector<double> output(static_cast<size_t>(queries) * head_dim, 0.0);
  for (int i = 0; i < queries; ++i) {
    const int position = context - queries + i;
    std::vector<double> logits(position + 1);
    double largest = -std::numeric_limits<double>::infinity();
    for (int j = 0; j <= position; ++j) {
      double dot = 0;
      for (int d = 0; d < head_dim; ++d) dot += query[i * head_dim + d] * keys[j * head_dim + d];
      logits[j] = dot * scale - slope * (position - j);
      largest = std::max(largest, logits[j]);
    }
    double sum = 0;
    for (double& logit : logits) sum += logit = std::exp(logit - largest);
    for (int j = 0; j <= position; ++j) {
      for (int d = 0; d < head_dim; ++d) {
        output[i * head_dim + d] += logits[j] / sum * values[j * head_dim + d];
      }
    }
  }
  return output;
}

std::vector<double> Linear(const std::vector<double>& x, const std::vector<double>& weights,
                           const std::vector<double>& bias, int64_t rows, int64_t in, int64_t out) {
  std::vector<double> y(rows * out, 0.0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < in; ++k) {
      for (int64_t n = 0; n < out; ++n) y[r * out + n] += x[r * in + k] * weights[k * out + n];
    }
    for (int64_t n = 0; n < out && !bias.empty(); ++n) y[r * out + n] += bias[n];
  }
  return y;
}

std::vector<double> LayerNorm(const std::vector<double>& x, const std::vector<double>& gain,
                              const std::vector<double>& bias, double epsilon, int64_t rows, int64_t size) {
  std::vector<double> y(rows * size);
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < size; ++i) mean += x[r * size + i] / size;
    for (int64_t i = 0; i < size; ++i) variance += std::pow(x[r * size + i] - mean, 2) / size;
    for (int64_t i = 0; i < size; ++i) {
      y[r * size + i] = (x[r * size + i] - mean) / std::sqrt(variance + epsilon) * gain[i] + bias[i];
    }
  }
  return y;
}

double GeluTanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double GeluErf(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double Silu(double x) { return x / (1 + std::exp(-x)); }
double QuickGelu(double x) { return x / (1 + std::exp(-1.702 * x)); }

float RoundToBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
  std::memcpy(&x, &bits, sizeof(bits));
  return x;
}

}  // namespace precis::oracle
