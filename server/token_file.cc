#include "server/token_file.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kShortestToken = 16;

std::string Names(const std::vector<Permission>& permissions) {
  return absl::StrJoin(permissions, ", ", [](std::string* out, Permission p) { StrAppend(out, PermissionName(p)); });
}

std::string AllNames() { return Names({std::begin(kPermissions), std::end(kPermissions)}); }

std::vector<std::string_view> Split(std::string_view text, const char* separators) {
  std::vector<std::string_view> parts;
  for (const absl::string_view part : absl::StrSplit(ToAbsl(text), absl::ByAnyChar(separators), absl::SkipWhitespace())) {
    parts.push_back(ToStd(part));
  }
  return parts;
}

absl::Status AddPermission(std::string_view name, std::vector<Permission>* permissions) {
  for (const Permission permission : kPermissions) {
    if (name != PermissionName(permission)) continue;
    permissions->push_back(permission);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(StrCat("allow= has '", name, "'; known are ", AllNames()));
}

// One of name=, allow=, models=. Anything else may be a secret and isn't shown.
absl::Status ParseField(std::string_view field, int word, Grant* grant) {
  const size_t equals = field.find('=');
  const std::string_view key = field.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : field.substr(equals + 1);
  const std::vector<std::string_view> parts = Split(value, ",");
  if (key != "name" && key != "allow" && key != "models") {
    return absl::InvalidArgumentError(
        StrCat("word ", word, " is none of name=NAME, allow=PERMISSION,... and models=MODEL,..."));
  }
  if (parts.empty()) return absl::InvalidArgumentError(StrCat(key, "= has no value; leave it out for the default"));
  if (key == "name") grant->name = std::string(value);
  if (key == "models") grant->models.assign(parts.begin(), parts.end());
  if (key != "allow") return absl::OkStatus();
  grant->permissions.clear();
  for (const std::string_view part : parts) {
    if (absl::Status s = AddPermission(part, &grant->permissions); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status ParseLine(const std::vector<std::string_view>& words, TokenEntry* entry) {
  if (words[0].size() < kShortestToken) {
    return absl::InvalidArgumentError(
        StrCat("a token of ", words[0].size(), " characters; at least ", kShortestToken, " are needed"));
  }
  entry->token = std::string(words[0]);
  for (size_t i = 1; i < words.size(); ++i) {
    if (absl::Status s = ParseField(words[i], static_cast<int>(i) + 1, &entry->grant); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view PermissionName(Permission permission) {
  switch (permission) {
    case Permission::kSummarize: return "summarize";
    case Permission::kList: return "list";
    case Permission::kReflection: return "reflection";
    case Permission::kOutcomes: return "outcomes";
    case Permission::kExperiments: return "experiments";
    case Permission::kAdmin: return "admin";
  }
  return "";
}

bool Grant::Allows(Permission permission) const {
  return permissions.empty() || std::find(permissions.begin(), permissions.end(), permission) != permissions.end();
}

bool Grant::AllowsModel(std::string_view model) const {
  return models.empty() || std::find(models.begin(), models.end(), model) != models.end();
}

absl::Status Grant::Check(Permission permission, std::string_view method) const {
  if (Allows(permission)) return absl::OkStatus();
  return absl::PermissionDeniedError(StrCat("the token '", name, "' allows ", Names(permissions), "; ", method, " needs ",
                                            PermissionName(permission),
                                            "; ask the operator to add it to the token's allow= (--auth-tokens-file)"));
}

absl::Status Grant::CheckModel(std::string_view model) const {
  if (AllowsModel(model)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      StrCat("the token '", name, "' does not allow model '", model, "', only ", absl::StrJoin(models, ", "),
             "; name one of these as the request's model, or ask the operator for more (--auth-tokens-file)"));
}

absl::StatusOr<std::vector<TokenEntry>> ReadTokens(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (!stream) return absl::InvalidArgumentError(StrCat("--auth-tokens-file=", file, " can't be read"));
  std::vector<TokenEntry> entries;
  absl::flat_hash_set<std::string> seen;
  int line_number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    const std::vector<std::string_view> words = Split(ToStd(line), " \t\r");
    if (words.empty() || words[0][0] == '#') continue;
    TokenEntry entry;
    entry.grant.name = StrCat("line ", line_number);
    absl::Status status = ParseLine(words, &entry);
    if (status.ok() && !seen.insert(entry.token).second) {
      status = absl::InvalidArgumentError("a token that an earlier line has, too");
    }
    if (!status.ok()) return absl::InvalidArgumentError(StrCat(file, ":", line_number, ": ", status.message()));
    entries.push_back(std::move(entry));
  }
  if (!entries.empty()) return entries;
  return absl::InvalidArgumentError(
      StrCat("--auth-tokens-file=", file, " holds no token; write one a line, e.g. from openssl rand -hex 32"));
}

}  // namespace precis::server
