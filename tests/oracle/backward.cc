#include "tests/oracle/backward.h"

#include <cmath>

namespace precis::oracle {
namespace {

double Dot(const double* a, const double* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void Add(double* to, const double* from, double factor, int n) {
  for (int i = 0; i < n; ++i) to[i] += factor * from[i];
}

// Probabilities of row i over 0 .. i, and its log-sum-exp.
std::vector<double> Row(const std::vector<double>& q, const std::vector<double>& k, int i, int d, double scale, double slope, double* lse) {
  std::vector<double> p(i + 1);
  double max = -1e300, sum = 0;
  for (int j = 0; j <= i; ++j) {
    p[j] = Dot(&q[i * d], &k[j * d], d) * scale - slope * (i - j);
    max = std::max(max, p[j]);
  }
  for (double& x : p) sum += std::exp(x - max);
  *lse = max + std::log(sum);
  for (double& x : p) x = std::exp(x - *lse);
  return p;
}

}  // namespace

AttentionGradients AttentionBackward(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
                                     const std::vector<double>& d_output, int length, int head_dim, double scale, double slope) {
  const size_t size = static_cast<size_t>(length) * head_dim;
  AttentionGradients g;
  for (auto* values : {&g.output, &g.dq, &g.dk, &g.dv}) values->assign(size, 0);
  g.log_sum_exp.assign(length, 0);
  for (int i = 0; i < length; ++i) {
    const std::vector<double> p = Row(q, k, i, head_dim, scale, slope, &g.log_sum_exp[i]);
    for (int j = 0; j <= i; ++j) Add(&g.output[i * head_dim], &v[j * head_dim], p[j], head_dim);
    const double delta = Dot(&g.output[i * head_dim], &d_output[i * head_dim], head_dim);
    for (int j = 0; j <= i; ++j) {
      const double ds = p[j] * (Dot(&d_output[i * head_dim], &v[j * head_dim], head_dim) - delta) * scale;
      Add(&g.dv[j * head_dim], &d_output[i * head_dim], p[j], head_dim);
      Add(&g.dq[i * head_dim], &k[j * head_dim], ds, head_dim);
      Add(&g.dk[j * head_dim], &q[i * head_dim], ds, head_dim);
    }
  }
  return g;
}

LayerNormGradients LayerNormBackward(const std::vector<double>& x, const std::vector<double>& dy, const std::vector<double>& gain,
                                     double epsilon, int64_t rows, int64_t size) {
  LayerNormGradients g = {std::vector<double>(rows * size), std::vector<double>(size), std::vector<double>(size)};
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, variance = 0, sum = 0, dot = 0;
    for (int64_t c = 0; c < size; ++c) mean += x[r * size + c] / size;
    for (int64_t c = 0; c < size; ++c) variance += std::pow(x[r * size + c] - mean, 2) / size;
    const double inverse = 1 / std::sqrt(variance + epsilon);
    for (int64_t c = 0; c < size; ++c) {
      const double normal = (x[r * size + c] - mean) * inverse, d = dy[r * size + c];
      sum += d * gain[c] / size;
      dot += d * gain[c] * normal / size;
      g.gain[c] += d * normal;
      g.bias[c] += d;
    }
    for (int64_t c = 0; c < size; ++c) {
      const double normal = (x[r * size + c] - mean) * inverse;
      g.dx[r * size + c] = (dy[r * size + c] * gain[c] - sum - normal * dot) * inverse;
    }
  }
  return g;
}

}  // namespace precis::oracle
