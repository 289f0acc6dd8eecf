#ifndef PRECIS_SERVER_TOKEN_FILE_H_
#define PRECIS_SERVER_TOKEN_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace precis::server {

enum class Permission : uint8_t { kSummarize, kList, kReflection, kOutcomes, kExperiments, kAdmin };
inline constexpr Permission kPermissions[] = {Permission::kSummarize, Permission::kList,        Permission::kReflection,
                                              Permission::kOutcomes,  Permission::kExperiments, Permission::kAdmin};
std::string_view PermissionName(Permission permission);  // "summarize": as in the tokens file

// What a token allows.
struct Grant {
  std::string name;                     // for logs and messages; not secret
  std::vector<Permission> permissions;  // empty: all
  std::vector<std::string> models;      // empty: all

  bool Allows(Permission permission) const;
  bool AllowsModel(std::string_view model) const;
  // PERMISSION_DENIED unless it is allowed; the message names the token, what it allows and what to do.
  absl::Status Check(Permission permission, std::string_view method) const;
  absl::Status CheckModel(std::string_view model) const;
};

struct TokenEntry {
  std::string token;
  Grant grant;
};

// The tokens of a file, one a line; empty lines and lines that start with # are skipped:
//
//   TOKEN [name=NAME] [allow=PERMISSION,...] [models=MODEL,...]
//
// The name is "line N" unless given. INVALID_ARGUMENT (never with a token in the message) if the file can't be read, holds no
// token, one is shorter than 16 characters or given twice, or a line has something else.
absl::StatusOr<std::vector<TokenEntry>> ReadTokens(const std::string& file);

}  // namespace precis::server

#endif  // PRECIS_SERVER_TOKEN_FILE_H_
