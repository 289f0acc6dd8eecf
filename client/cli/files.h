#ifndef PRECIS_CLIENT_CLI_FILES_H_
#define PRECIS_CLIENT_CLI_FILES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace precis::cli {

// What the programs read at most of one file; the server has a limit of its own, usually lower.
inline constexpr int kMaxDocumentBytes = 64 << 20;

// The content of a file, or of the standard input if `path` is "-".
absl::StatusOr<std::string> ReadInput(const std::string& path);

absl::Status WriteFile(const std::string& path, std::string_view content);

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_FILES_H_
