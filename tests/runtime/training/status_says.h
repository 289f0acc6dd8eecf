#ifndef PRECIS_TESTS_RUNTIME_TRAINING_STATUS_SAYS_H_
#define PRECIS_TESTS_RUNTIME_TRAINING_STATUS_SAYS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace precis::test {

inline testing::AssertionResult Says(const absl::Status& status, std::string_view words) {
  const std::string message(status.message());
  if (status.ok() || message.find(words) == std::string::npos) return testing::AssertionFailure() << "'" << message << "' has no '" << words << "'";
  return testing::AssertionSuccess();
}

}  // namespace precis::test

#endif  // PRECIS_TESTS_RUNTIME_TRAINING_STATUS_SAYS_H_
