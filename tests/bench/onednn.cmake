# A peer only: nothing of the product links oneDNN (libdnnl-dev).
find_package(dnnl CONFIG QUIET)
if(dnnl_FOUND)
  add_executable(precis-onednn-bench ${CMAKE_CURRENT_LIST_DIR}/onednn_bench.cc)
  target_include_directories(precis-onednn-bench PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(precis-onednn-bench PRIVATE precis_kernels DNNL::dnnl precis_warnings)
else()
  message(STATUS "oneDNN not found (libdnnl-dev): precis-onednn-bench is not built")
endif()
