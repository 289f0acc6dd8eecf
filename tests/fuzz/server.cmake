precis_fuzzer(NAME server_config_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/server_config_fuzz.cc
  DEPENDS precis_server_lib DICT server_config.dict MAX_LEN 4096)
precis_fuzzer(NAME http_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/http_fuzz.cc
  DEPENDS precis_metrics DICT http.dict MAX_LEN 16384)
precis_fuzzer(NAME tokens_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokens_fuzz.cc
  DEPENDS precis_server_lib DICT tokens.dict MAX_LEN 1024)
precis_fuzzer(NAME results_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/results_fuzz.cc
  DEPENDS precis_experiments MAX_LEN 8192)
