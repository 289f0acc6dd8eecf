#ifndef PRECIS_TESTS_ORACLE_BACKWARD_H_
#define PRECIS_TESTS_ORACLE_BACKWARD_H_

#include <cstdint>
#include <vector>

namespace precis::oracle {

// Gradients of Attention() over one whole sequence (queries = context), written out from the definition in f64.
struct AttentionGradients {
  std::vector<double> output;       // [length][head_dim]
  std::vector<double> log_sum_exp;  // [length]
  std::vector<double> dq, dk, dv;   // [length][head_dim]
};
AttentionGradients AttentionBackward(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
                                     const std::vector<double>& d_output, int length, int head_dim, double scale, double slope);

struct LayerNormGradients {
  std::vector<double> dx, gain, bias;
};
LayerNormGradients LayerNormBackward(const std::vector<double>& x, const std::vector<double>& dy, const std::vector<double>& gain,
                                     double epsilon, int64_t rows, int64_t size);

}  // namespace precis::oracle

#endif  // PRECIS_TESTS_ORACLE_BACKWARD_H_
