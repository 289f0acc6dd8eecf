# The target precis_arrow: Apache Arrow's C++ Parquet library. Debian 12 has none; a system's own (Parquet's CMake package, from Apache's
# repository or a later Debian) is taken first, then the one inside of PyArrow's wheel, which comes with its headers and is made to be
# linked with (https://arrow.apache.org/docs/python/integration/extending.html). Without either precis-eval is built all the same and says
# so when it is given a Parquet file.
find_package(Parquet CONFIG QUIET)
if(TARGET Parquet::parquet_shared)
  add_library(precis_arrow INTERFACE)
  target_link_libraries(precis_arrow INTERFACE Parquet::parquet_shared)
  return()
endif()
file(GLOB pyarrow_libraries ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/pyarrow/libparquet.so.*)
if(pyarrow_libraries)
  list(GET pyarrow_libraries 0 parquet_library)
  get_filename_component(pyarrow ${parquet_library} DIRECTORY)
  file(GLOB arrow_library ${pyarrow}/libarrow.so.*)
  list(GET arrow_library 0 arrow_library)
  add_library(precis_arrow INTERFACE)
  target_include_directories(precis_arrow SYSTEM INTERFACE ${pyarrow}/include)
  target_link_libraries(precis_arrow INTERFACE ${parquet_library} ${arrow_library})
else()
  message(STATUS "no Apache Arrow: precis-eval is built without Parquet (deploy/install-deps brings it)")
endif()
