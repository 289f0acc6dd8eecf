#include "tests/server/metrics/exposition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace precis::server {
namespace {

// Reads name="value" pairs up to '}'; `at` is behind '{'. Returns the position behind '}'.
size_t ReadLabels(const std::string& line, size_t at, Exposition::Labels* labels) {
  while (at < line.size() && line[at] != '}') {
    const size_t equals = line.find("=\"", at);
    if (equals == std::string::npos) break;
    const std::string name = line.substr(at, equals - at);
    std::string value;
    for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
      if (line[at] != '\\') {
        value += line[at];
        continue;
      }
      ++at;
      value += line[at] == 'n' ? '\n' : line[at];
    }
    (*labels)[name] = value;
    at += 1;
    if (line[at] == ',') ++at;
  }
  return at + 1;
}

}  // namespace

Exposition::Exposition(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) {
      const size_t space = line.find(' ', 7);
      types_[line.substr(7, space - 7)] = line.substr(space + 1);
    }
    if (line.empty() || line[0] == '#') continue;
    Sample sample;
    size_t at = line.find_first_of("{ ");
    sample.name = line.substr(0, at);
    if (at != std::string::npos && line[at] == '{') at = ReadLabels(line, at + 1, &sample.labels);
    if (at == std::string::npos || at >= line.size() || line[at] != ' ') {
      ADD_FAILURE() << "not a sample: " << line;
      continue;
    }
    char* end = nullptr;
    sample.value = std::strtod(line.c_str() + at + 1, &end);
    EXPECT_EQ(*end, '\0') << line;
    samples_.push_back(std::move(sample));
  }
}

std::optional<double> Exposition::Sum(const std::string& name, const Labels& labels) const {
  std::optional<double> sum;
  for (const Sample& sample : samples_) {
    const bool fits = sample.name == name && std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
                        const auto it = sample.labels.find(label.first);
                        return it != sample.labels.end() && it->second == label.second;
                      });
    if (fits) sum = sum.value_or(0) + sample.value;
  }
  return sum;
}

std::vector<std::string> Exposition::Bounds(const std::string& histogram) const {
  std::vector<std::string> bounds;
  for (const Sample& sample : samples_) {
    if (sample.name != histogram + "_bucket") continue;
    const std::string& le = sample.labels.at("le");
    if (std::find(bounds.begin(), bounds.end(), le) == bounds.end()) bounds.push_back(le);
  }
  return bounds;
}

bool Exposition::HasType(const std::string& name, const std::string& type) const {
  const auto it = types_.find(name);
  return it != types_.end() && it->second == type;
}

}  // namespace precis::server
