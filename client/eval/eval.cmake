# precis-eval: scores (no gRPC), data readers (no gRPC), and the program.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)  # the tests link these libraries too
find_package(ZLIB REQUIRED)
find_package(LibLZMA REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET GLOBAL libzstd)
pkg_check_modules(RSVG REQUIRED IMPORTED_TARGET GLOBAL librsvg-2.0 cairo)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET GLOBAL libutf8proc)
find_library(PRECIS_LIBCSV csv REQUIRED)
include(${CMAKE_CURRENT_LIST_DIR}/parquet.cmake)
set(eval ${CMAKE_CURRENT_LIST_DIR})

file(GLOB eval_score CONFIGURE_DEPENDS ${eval}/text/*.cc ${eval}/score/*.cc)
precis_library(precis_eval_score SOURCES ${eval_score}
  DEPENDS absl::strings absl::flat_hash_map absl::flat_hash_set nlohmann_json::nlohmann_json PkgConfig::UTF8PROC Threads::Threads)

file(GLOB eval_data CONFIGURE_DEPENDS ${eval}/data/*.cc)
list(REMOVE_ITEM eval_data ${eval}/data/parquet_module.cc)
precis_library(precis_eval_data SOURCES ${eval_data} DEPENDS precis_eval_score absl::status absl::statusor absl::strings
  ZLIB::ZLIB LibLZMA::LibLZMA PkgConfig::ZSTD OpenSSL::Crypto ${PRECIS_LIBCSV} ${CMAKE_DL_LIBS})
if(TARGET precis_arrow)
  add_library(precis_parquet MODULE ${eval}/data/parquet_module.cc)
  target_link_libraries(precis_parquet PRIVATE precis_eval_score precis_arrow absl::status absl::statusor precis_warnings)
  set_target_properties(precis_parquet PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  add_dependencies(precis_eval_data precis_parquet)
  target_compile_definitions(precis_eval_data PRIVATE PRECIS_PARQUET_MODULE="$<TARGET_FILE:precis_parquet>")
endif()

file(GLOB eval_program CONFIGURE_DEPENDS ${eval}/stats/*.cc ${eval}/run/*.cc ${eval}/report/*.cc ${eval}/commands/*.cc)
list(REMOVE_ITEM eval_program ${eval}/commands/main.cc)
precis_library(precis_eval_lib SOURCES ${eval_program} DEPENDS precis_eval_score precis_eval_data precis_cli_lib PkgConfig::RSVG)
add_executable(precis-eval ${eval}/commands/main.cc)
target_link_libraries(precis-eval PRIVATE precis_eval_lib precis_warnings)
# Beside the program, which runs it for `study --wandb`.
configure_file(${eval}/log_wandb.py ${CMAKE_CURRENT_BINARY_DIR}/log_wandb.py COPYONLY)
