precis_fuzzer(NAME safetensors_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/safetensors_fuzz.cc
  DEPENDS precis_model DICT safetensors.dict)
precis_fuzzer(NAME config_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/config_fuzz.cc
  DEPENDS precis_model DICT config.dict)
precis_fuzzer(NAME checkpoint_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/checkpoint_fuzz.cc
  DEPENDS precis_model DICT safetensors.dict MAX_LEN 16384)
