add_executable(precis-engine-bench ${CMAKE_CURRENT_LIST_DIR}/engine_bench.cc)
target_include_directories(precis-engine-bench PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(precis-engine-bench PRIVATE precis_engine precis_warnings)
add_test(NAME engine_bench_smoke COMMAND precis-engine-bench
  --model=${PROJECT_SOURCE_DIR}/deploy/models/precis-small-learned --runs=1 --points=P1_64,P3_2)
set_tests_properties(engine_bench_smoke PROPERTIES LABELS bench TIMEOUT 120)
