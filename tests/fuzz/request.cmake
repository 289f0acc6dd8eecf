precis_fuzzer(NAME request_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/request_fuzz.cc
  DEPENDS precis_server_lib)
