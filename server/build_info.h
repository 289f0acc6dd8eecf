#ifndef PRECIS_SERVER_BUILD_INFO_H_
#define PRECIS_SERVER_BUILD_INFO_H_

#include <string_view>

namespace precis::server {

std::string_view Version();   // "0.1.0"
std::string_view Commit();    // of the configured tree, or "unknown"
std::string_view Compiler();  // "gcc 12.2.0"

}  // namespace precis::server

#endif  // PRECIS_SERVER_BUILD_INFO_H_
