#ifndef PRECIS_CLIENT_EVAL_COMMANDS_CHILD_PROCESS_H_
#define PRECIS_CLIENT_EVAL_COMMANDS_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace precis::eval {

// A program started by this one; asked to end (SIGTERM) and waited for when the object goes.
class ChildProcess {
 public:
  // `arguments[0]` is looked for on the PATH unless it has a slash. Its standard output is read by ReadLine, the rest is this program's.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // False at the end of its output.
  bool ReadLine(std::string* line);
  // Waits for its end; its exit code, or 128 and the signal.
  int Wait();

 private:
  ChildProcess(pid_t pid, std::FILE* output) : pid_(pid), output_(output) {}
  pid_t pid_;  // 0: waited for
  std::FILE* const output_;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_COMMANDS_CHILD_PROCESS_H_
