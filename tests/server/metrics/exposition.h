#ifndef PRECIS_TESTS_SERVER_METRICS_EXPOSITION_H_
#define PRECIS_TESTS_SERVER_METRICS_EXPOSITION_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace precis::server {

// Prometheus' text format, read for tests.
class Exposition {
 public:
  using Labels = std::map<std::string, std::string>;
  struct Sample {
    std::string name;
    Labels labels;
    double value;
  };

  // Fails the test on a line that is none of the format.
  explicit Exposition(const std::string& text);

  const std::vector<Sample>& samples() const { return samples_; }
  // The sum of the samples of that name whose labels include `labels`; nullopt if there is none.
  std::optional<double> Sum(const std::string& name, const Labels& labels = {}) const;
  // The distinct values of `le` of a histogram, in the order written.
  std::vector<std::string> Bounds(const std::string& histogram) const;
  bool HasType(const std::string& name, const std::string& type) const;

 private:
  std::vector<Sample> samples_;
  std::map<std::string, std::string> types_;
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_METRICS_EXPOSITION_H_
