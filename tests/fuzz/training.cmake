precis_fuzzer(NAME training_fuzz SOURCES ${CMAKE_CURRENT_LIST_DIR}/training_fuzz.cc DEPENDS precis_training DICT training.dict)
