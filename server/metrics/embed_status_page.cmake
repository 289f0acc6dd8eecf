# Writes ${OUT}: a C++ source with index.html, its style and its scripts inlined.
#   cmake -DDIR=status_page -DOUT=status_page.cc -P embed_status_page.cmake

# Puts the text of `file` in place of `tag`, which must be in the page.
macro(inline tag file open close)
  file(READ "${DIR}/${file}" text)
  string(FIND "${html}" "${tag}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "status page: index.html lacks ${tag}")
  endif()
  string(REPLACE "${tag}" "${open}\n${text}${close}" html "${html}")
endmacro()

file(READ "${DIR}/index.html" html)
inline("<link rel=\"stylesheet\" href=\"style.css\">" style.css "<style nonce=\"PRECIS_NONCE\">" "</style>")
foreach(script prom chart app)
  inline("<script src=\"${script}.js\"></script>" ${script}.js "<script nonce=\"PRECIS_NONCE\">" "</script>")
endforeach()
string(FIND "${html}" ")PRECIS\"" at)
if(NOT at EQUAL -1)
  message(FATAL_ERROR "status page: it holds the raw string's end mark")
endif()
file(WRITE "${OUT}" "// Made from server/metrics/status_page by embed_status_page.cmake.
#include \"server/metrics/status_page.h\"

namespace precis::server {

const std::string_view kStatusPage = R\"PRECIS(${html})PRECIS\";

}  // namespace precis::server
")
