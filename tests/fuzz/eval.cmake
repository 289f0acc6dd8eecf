precis_fuzzer(NAME eval_data_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/eval_data_fuzz.cc DEPENDS precis_eval_data MAX_LEN 8192)
