#include "server/build_info.h"

#define PRECIS_STRING_(x) #x
#define PRECIS_STRING(x) PRECIS_STRING_(x)

namespace precis::server {

std::string_view Version() { return PRECIS_VERSION; }
std::string_view Commit() { return PRECIS_COMMIT; }

std::string_view Compiler() {
#ifdef __clang__
  return "clang " PRECIS_STRING(__clang_major__) "." PRECIS_STRING(__clang_minor__) "." PRECIS_STRING(
      __clang_patchlevel__);
#else
  return "gcc " PRECIS_STRING(__GNUC__) "." PRECIS_STRING(__GNUC_MINOR__) "." PRECIS_STRING(
      __GNUC_PATCHLEVEL__);
#endif
}

}  // namespace precis::server
