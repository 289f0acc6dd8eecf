# Writes ${OUT}: C++ source with each page's document, its styles and its scripts inlined.
#   cmake -DDIR=server/metrics -DOUT=status_page.cc -P embed_status_page.cmake

# Puts the text of `file` in place of `tag`, which must be in the page.
macro(inline tag file open close)
  file(READ "${file}" text)
  string(FIND "${html}" "${tag}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "${file}: index.html lacks ${tag}")
  endif()
  string(REPLACE "${tag}" "${open}\n${text}${close}" html "${html}")
endmacro()

# page(variable folder styles... SCRIPTS scripts...): the page's text in ${variable}. Every page may use the status page's style.
function(page variable folder)
  cmake_parse_arguments(ARG "" "" "STYLES;SCRIPTS" ${ARGN})
  file(READ "${DIR}/${folder}/index.html" html)
  foreach(style IN LISTS ARG_STYLES)
    get_filename_component(name ${style} NAME)
    inline("<link rel=\"stylesheet\" href=\"${name}\">" "${DIR}/${style}" "<style nonce=\"PRECIS_NONCE\">" "</style>")
  endforeach()
  foreach(script IN LISTS ARG_SCRIPTS)
    inline("<script src=\"${script}.js\"></script>" "${DIR}/${folder}/${script}.js" "<script nonce=\"PRECIS_NONCE\">" "</script>")
  endforeach()
  string(FIND "${html}" ")PRECIS\"" at)
  if(NOT at EQUAL -1)
    message(FATAL_ERROR "${folder}: it holds the raw string's end mark")
  endif()
  set(${variable} "${html}" PARENT_SCOPE)
endfunction()

page(status status_page STYLES status_page/style.css SCRIPTS prom chart app)
page(experiments experiments_page STYLES status_page/style.css experiments_page/page.css SCRIPTS page)
file(WRITE "${OUT}" "// Made from server/metrics/status_page and experiments_page by embed_status_page.cmake.
#include \"server/metrics/status_page.h\"

namespace precis::server {

const std::string_view kStatusPage = R\"PRECIS(${status})PRECIS\";

const std::string_view kExperimentsPage = R\"PRECIS(${experiments})PRECIS\";

}  // namespace precis::server
")
