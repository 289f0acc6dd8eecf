#ifndef PRECIS_RUNTIME_MODEL_STATUS_MACROS_H_
#define PRECIS_RUNTIME_MODEL_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PRECIS_MODEL_CONCAT_INNER(a, b) a##b
#define PRECIS_MODEL_CONCAT(a, b) PRECIS_MODEL_CONCAT_INNER(a, b)

// PRECIS_TRY(expression of absl::Status): returns it if it is an error.
#define PRECIS_TRY(expression)                                 \
  do {                                                         \
    absl::Status precis_status = (expression);                 \
    if (!precis_status.ok()) return precis_status;             \
  } while (false)

// PRECIS_ASSIGN(auto x, expression of absl::StatusOr<T>): declares x, or returns the error.
#define PRECIS_ASSIGN(declaration, ...) \
  PRECIS_ASSIGN_IMPL(PRECIS_MODEL_CONCAT(precis_or_, __LINE__), declaration, __VA_ARGS__)
#define PRECIS_ASSIGN_IMPL(name, declaration, ...) \
  auto name = __VA_ARGS__;                         \
  if (!name.ok()) return name.status();            \
  declaration = std::move(*name)

#endif  // PRECIS_RUNTIME_MODEL_STATUS_MACROS_H_
