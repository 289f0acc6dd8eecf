# Writes ${OUT}: a C++ source with index.html, its style.css and app.js inlined.
#   cmake -DDIR=status_page -DOUT=status_page.cc -P embed_status_page.cmake
file(READ "${DIR}/index.html" html)
file(READ "${DIR}/style.css" css)
file(READ "${DIR}/app.js" js)
foreach(part html css js)
  if("${${part}}" MATCHES "\\)PRECIS\"")
    message(FATAL_ERROR "status page: ${part} holds the raw string's end mark")
  endif()
endforeach()
foreach(tag "<link rel=\"stylesheet\" href=\"style.css\">" "<script src=\"app.js\" defer></script>")
  string(FIND "${html}" "${tag}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "status page: index.html lacks ${tag}")
  endif()
endforeach()
string(REPLACE "<link rel=\"stylesheet\" href=\"style.css\">" "<style nonce=\"PRECIS_NONCE\">\n${css}</style>" html "${html}")
string(REPLACE "<script src=\"app.js\" defer></script>" "<script nonce=\"PRECIS_NONCE\">\n${js}</script>" html "${html}")
file(WRITE "${OUT}" "// Made from server/metrics/status_page by embed_status_page.cmake.
#include \"server/metrics/status_page.h\"

namespace precis::server {

const std::string_view kStatusPage = R\"PRECIS(${html})PRECIS\";

}  // namespace precis::server
")
