precis_fuzzer(NAME tokenizer_json_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_json_fuzz.cc
  DEPENDS precis_tokenizer DICT tokenizer_json.dict)
precis_fuzzer(NAME tokenizer_vocab_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_vocab_fuzz.cc
  DEPENDS precis_tokenizer DICT tokenizer_json.dict)
precis_fuzzer(NAME tokenizer_text_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_text_fuzz.cc
  DEPENDS precis_tokenizer)
target_compile_definitions(tokenizer_text_fuzz PRIVATE
  PRECIS_TEST_TOKENIZER="${PROJECT_SOURCE_DIR}/tests/runtime/tokenizer/data/small")
