# Compiler settings shared by every target, and the two functions that declare them.

find_program(PRECIS_CCACHE ccache)
if(PRECIS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${PRECIS_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PRECIS_CCACHE})
endif()
find_program(PRECIS_MOLD mold)
if(PRECIS_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(absl REQUIRED)
find_package(nlohmann_json REQUIRED)

add_library(precis_warnings INTERFACE)
target_compile_options(precis_warnings INTERFACE
  -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # libstdc++ 12's stable_sort uses what it deprecates itself; GCC's builds keep that warning.
  target_compile_options(precis_warnings INTERFACE -Wthread-safety -Wno-deprecated-declarations)
endif()

if(PRECIS_SANITIZE)
  add_compile_options(-fsanitize=${PRECIS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PRECIS_SANITIZE})
  if(PRECIS_SANITIZE MATCHES address)
    add_compile_options(-O1 -g1)  # what a report needs; compiling takes much longer than the tests do
  endif()
endif()

# Fuzz targets need coverage and sanitizers in every library under them.
if(PRECIS_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "PRECIS_BUILD_FUZZERS needs clang; the preset \"clang\" uses it")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link -O1 -g1)
  if(NOT PRECIS_SANITIZE)
    set(PRECIS_FUZZER_SANITIZE address,undefined)
    add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
  endif()
endif()

# precis_generated_code(target): what a generator wrote is not ours to check, and is large: built fast, and without sanitizers
# (libFuzzer's coverage stays, so that it learns the wire format).
function(precis_generated_code target)
  target_compile_options(${target} PRIVATE -O1 -g0)
  foreach(sanitizers IN LISTS PRECIS_SANITIZE PRECIS_FUZZER_SANITIZE)
    string(REPLACE "," ";" sanitizers "${sanitizers}")
    foreach(sanitizer IN LISTS sanitizers)
      target_compile_options(${target} PRIVATE -fno-sanitize=${sanitizer})
    endforeach()
  endforeach()
endfunction()

# precis_library(NAME SOURCES... DEPENDS...): a static library with root-relative includes.
function(precis_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(${name} PUBLIC ${ARG_DEPENDS} PRIVATE precis_warnings)
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${ARG_DEPENDS})
  endif()
endfunction()

# The targets tests-<label> build what carries a label, so that a stage of tests/run builds no more than it runs.
function(precis_label_target name)
  foreach(label IN LISTS ARGN)
    if(NOT TARGET tests-${label})
      add_custom_target(tests-${label})
    endif()
    add_dependencies(tests-${label} ${name})
  endforeach()
endfunction()

# precis_test(NAME LABELS kind... SOURCES... DEPENDS... [TIMEOUT seconds]): a GoogleTest binary, run as one ctest
# test with the given labels (unit, golden, property, integration, fault, fuzz, page, bench, simt) and the label "binary".
function(precis_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} GTest::gmock GTest::gtest GTest::gtest_main precis_warnings)
  target_compile_definitions(${name} PRIVATE PRECIS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(PRECIS_SANITIZE)
    math(EXPR ARG_TIMEOUT "4 * ${ARG_TIMEOUT}")
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS};binary" TIMEOUT ${ARG_TIMEOUT})
  precis_label_target(${name} ${ARG_LABELS})
endfunction()
