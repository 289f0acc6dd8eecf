// The input is a tokens file. What is accepted keeps the documented limits; what is refused is refused without showing a token.
#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "server/token_file.h"
#include "tests/fuzz/memory_file.h"

namespace precis::server {
namespace {

void CheckAccepted(const std::vector<TokenEntry>& entries) {
  Require(!entries.empty(), "a file without a token was accepted");
  std::set<std::string> tokens;
  for (const TokenEntry& entry : entries) {
    Require(entry.token.size() >= 16 && entry.token.find_first_of(" \t\n") == std::string::npos, "a token that is too short or holds space");
    Require(tokens.insert(entry.token).second, "a token twice");
    Require(!entry.grant.name.empty(), "a grant without a name");
    for (const Permission permission : kPermissions) {
      Require(entry.grant.Check(permission, "m").ok() == entry.grant.Allows(permission), "Check and Allows differ");
    }
    for (const std::string& model : entry.grant.models) Require(entry.grant.AllowsModel(model), "a model that is allowed is not");
    Require(entry.grant.models.empty() == entry.grant.AllowsModel("no,name"), "a model that is not allowed is");
  }
}

// Words of 16 bytes and more at a line's beginning are tokens, or were meant to be.
void CheckRefused(std::string_view text, std::string_view message) {
  Require(!message.empty(), "refused without a reason");
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find_first_of(" \t\r\n\v\f", start), text.size());
    const std::string_view word = text.substr(start, end - start);
    const bool is_field = word.find('=') != std::string_view::npos || word.find(',') != std::string_view::npos;
    // A field's value may be shown, and any word may be part of what the message says anyway.
    if (word.size() >= 24 && !is_field) Require(message.find(word) == std::string_view::npos, "a token in a message");
    start = end + 1;
  }
}

}  // namespace
}  // namespace precis::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace precis::server;  // NOLINT: the target is this namespace's
  static auto* const file = new precis::MemoryFile;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  file->Write(text);
  const auto entries = ReadTokens(file->path());
  if (entries.ok()) {
    CheckAccepted(*entries);
  } else {
    precis::Require(absl::IsInvalidArgument(entries.status()), "another code");
    const absl::string_view message = entries.status().message();
    CheckRefused(text, {message.data(), message.size()});
  }
  return 0;
}
