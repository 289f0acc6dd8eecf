#ifndef PRECIS_CLIENT_CLI_EXIT_CODE_H_
#define PRECIS_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace precis::cli {

// Of `precis` and `precis-load`; documented by kExitCodeHelp and client/README.md.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitInput = 3,
  kExitUnavailable = 4,
  kExitOverloaded = 5,
  kExitDeadline = 6,
  kExitRefused = 7,
  kExitUnauthenticated = 8,
};

inline constexpr char kExitCodeHelp[] =
    "Exit codes: 0 done; 1 failed in another way (health: not serving); 2 bad command line; 3 a file can't be\n"
    "read or written; 4 the server can't be reached, or is starting or draining; 5 the server is overloaded;\n"
    "6 the deadline passed; 7 the request was refused (INVALID_ARGUMENT, NOT_FOUND); 8 no or wrong credentials.\n";

int ExitCodeOf(const absl::Status& status);

// "error: CODE: message" on stderr; returns the exit code.
int ReportError(const absl::Status& status);

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_EXIT_CODE_H_
