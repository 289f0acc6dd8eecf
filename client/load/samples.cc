#include "client/load/samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace precis::load {

double Percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
  const size_t index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

double Distribution::mean() const {
  if (sorted.empty()) return 0;
  return std::accumulate(sorted.begin(), sorted.end(), 0.0) / static_cast<double>(sorted.size());
}

Summary Summarize(const std::vector<const Sample*>& samples) {
  Summary summary;
  for (const Sample* sample : samples) {
    ++summary.requests;
    if (sample->code != "OK") {
      ++summary.errors[sample->code];
      continue;
    }
    ++summary.ok;
    summary.prompt_tokens += sample->prompt_tokens;
    summary.new_tokens += sample->new_tokens;
    summary.latency.sorted.push_back(sample->latency);
    if (sample->time_to_first_token >= 0) {
      summary.time_to_first_token.sorted.push_back(sample->time_to_first_token);
    }
    auto& gaps = summary.inter_token.sorted;
    gaps.insert(gaps.end(), sample->gaps.begin(), sample->gaps.end());
  }
  for (Distribution* d : {&summary.latency, &summary.time_to_first_token, &summary.inter_token}) {
    std::sort(d->sorted.begin(), d->sorted.end());
  }
  return summary;
}

std::map<std::string, Summary> Stage::ByBackend() const {
  std::map<std::string, std::vector<const Sample*>> groups;
  for (const Sample& sample : samples) groups[sample.backend].push_back(&sample);
  std::map<std::string, Summary> result;
  for (const auto& [backend, group] : groups) result.emplace(backend, Summarize(group));
  return result;
}

Summary Stage::All() const {
  std::vector<const Sample*> all;
  for (const Sample& sample : samples) all.push_back(&sample);
  return Summarize(all);
}

}  // namespace precis::load
