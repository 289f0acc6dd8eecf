#ifndef PRECIS_TESTS_ORACLE_ORACLE_H_
#define PRECIS_TESTS_ORACLE_ORACLE_H_

#include <cstdint>
#include <vector>

namespace precis::oracle {

// Causal attention of one head, from the definition. query [queries][head_dim], keys and values [context][head_dim]; row i stands
// at position context - queries + i. Each score gets - slope * (i - j).
std::vector<double> Attention(const std::vector<double>& query, const std::vector<double>& keys,
                              const std::vector<double>& values, int queries, int context, int head_dim, double scale,
                              double slope);

// y = x W + bias: x [rows][in], weights [in][out], bias [out] or empty.
std::vector<double> Linear(const std::vector<double>& x, const std::vector<double>& weights,
                           const std::vector<double>& bias, int64_t rows, int64_t in, int64_t out);

std::vector<double> LayerNorm(const std::vector<double>& x, const std::vector<double>& gain,
                              const std::vector<double>& bias, double epsilon, int64_t rows, int64_t size);

double GeluTanh(double x);
double GeluErf(double x);
double Silu(double x);
double QuickGelu(double x);

// Rounds to bfloat16, to nearest even.
float RoundToBf16(float x);

}  // namespace precis::oracle

#endif  // PRECIS_TESTS_ORACLE_ORACLE_H_
