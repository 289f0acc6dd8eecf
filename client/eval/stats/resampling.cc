#include "client/eval/stats/resampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "client/eval/stats/random.h"

namespace precis::eval {
namespace {

void AddRow(const Sample& sample, int64_t document, std::vector<double>* sums) {
  const double* const row = &sample.rows[document * sample.width];
  for (int i = 0; i < sample.width; ++i) (*sums)[i] += row[i];
}

Interval PercentileInterval(std::vector<double> values, double level) {
  std::sort(values.begin(), values.end());
  const double tail = 50 * (1 - level);
  return {Percentile(values, tail), Percentile(values, 100 - tail)};
}

}  // namespace

double Sample::Score() const {
  std::vector<double> sums(width);
  for (int64_t i = 0; i < documents(); ++i) AddRow(*this, i, &sums);
  return statistic(sums, static_cast<double>(documents()));
}

Sample MeanSample(std::vector<double> values) {
  return {1, std::move(values), [](std::span<const double> sums, double documents) { return documents > 0 ? sums[0] / documents : 0; }};
}

Interval BootstrapInterval(const Sample& sample, double level, int replicates, uint64_t seed) {
  const int64_t n = sample.documents();
  if (n == 0) return {};
  Random random(seed);
  std::vector<double> scores;
  for (int replicate = 0; replicate < replicates; ++replicate) {
    std::vector<double> sums(sample.width);
    for (int64_t i = 0; i < n; ++i) AddRow(sample, static_cast<int64_t>(random.Below(n)), &sums);
    scores.push_back(sample.statistic(sums, static_cast<double>(n)));
  }
  return PercentileInterval(std::move(scores), level);
}

PairedResult ComparePaired(const Sample& a, const Sample& b, double level, int replicates, uint64_t seed) {
  const int64_t n = std::min(a.documents(), b.documents());
  PairedResult result;
  if (n == 0) return result;
  const auto count = static_cast<double>(n);
  const auto difference = [&](const std::vector<double>& of_a, const std::vector<double>& of_b) {
    return a.statistic(of_a, count) - b.statistic(of_b, count);
  };
  result.difference = a.Score() - b.Score();
  Random random(seed);
  std::vector<double> differences;
  int64_t as_extreme = 0;
  for (int replicate = 0; replicate < replicates; ++replicate) {
    std::vector<double> of_a(a.width), of_b(b.width);
    for (int64_t i = 0; i < n; ++i) {
      const auto document = static_cast<int64_t>(random.Below(n));
      AddRow(a, document, &of_a);
      AddRow(b, document, &of_b);
    }
    differences.push_back(difference(of_a, of_b));
    std::fill(of_a.begin(), of_a.end(), 0);
    std::fill(of_b.begin(), of_b.end(), 0);
    uint64_t bits = 0;
    for (int64_t i = 0; i < n; ++i, bits >>= 1) {
      if (i % 64 == 0) bits = random.Bits();
      AddRow(a, i, bits & 1 ? &of_b : &of_a);
      AddRow(b, i, bits & 1 ? &of_a : &of_b);
    }
    // A hair of slack: sums in another order differ in their last bits.
    as_extreme += std::abs(difference(of_a, of_b)) >= std::abs(result.difference) * (1 - 1e-12) - 1e-15;
  }
  result.interval = PercentileInterval(std::move(differences), level);
  result.p = static_cast<double>(as_extreme + 1) / static_cast<double>(replicates + 1);
  return result;
}

std::vector<double> HolmAdjust(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return p[i] < p[j]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, p[order[rank]] * static_cast<double>(order.size() - rank)));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

double Percentile(std::span<const double> sorted, double percent) {
  const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

PowerFit FitPower(std::span<const double> x, std::span<const double> y) {
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (x[i] > 0 && y[i] > 0) points.emplace_back(std::log(x[i]), std::log(y[i]));
  }
  PowerFit fit{.points = static_cast<int64_t>(points.size())};
  const auto n = static_cast<double>(points.size());
  double mean_x = 0, mean_y = 0, xx = 0, xy = 0, residual = 0;
  for (const auto& [u, v] : points) mean_x += u / n, mean_y += v / n;
  for (const auto& [u, v] : points) xx += (u - mean_x) * (u - mean_x), xy += (u - mean_x) * (v - mean_y);
  if (points.size() < 3 || xx < 1e-9) return fit;
  fit.valid = true;
  fit.exponent = xy / xx;
  fit.factor = std::exp(mean_y - fit.exponent * mean_x);
  for (const auto& [u, v] : points) residual += std::pow(v - mean_y - fit.exponent * (u - mean_x), 2);
  const double error = 1.96 * std::sqrt(residual / (n - 2) / xx);
  fit.interval = {fit.exponent - error, fit.exponent + error};
  return fit;
}

}  // namespace precis::eval
