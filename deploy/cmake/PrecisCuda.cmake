# The CUDA build: a toolkit, and precis_cuda_library. nvcc is called by rules of our own: CMake's CUDA language wants a toolkit laid out as NVIDIA's installer
# does it, which the Python packages (deploy/cuda-requirements.txt) are not.

# A system toolkit from 12.4 on, else the packages in .venv.
function(precis_find_cuda)
  set(private ${PROJECT_SOURCE_DIR}/.venv)
  file(GLOB wheels ${private}/lib/python3*/site-packages/nvidia/cu13)
  foreach(nvcc IN ITEMS $ENV{CUDACXX} $ENV{CUDA_HOME}/bin/nvcc SEARCH /usr/local/cuda/bin/nvcc ${wheels}/bin/nvcc)
    if(nvcc STREQUAL SEARCH)
      find_program(PRECIS_NVCC_ON_PATH nvcc)
      set(nvcc ${PRECIS_NVCC_ON_PATH})
    endif()
    if(NOT nvcc OR NOT EXISTS ${nvcc})
      continue()
    endif()
    execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" found "${text}")
    if(found AND CMAKE_MATCH_1 VERSION_GREATER_EQUAL 12.4)
      get_filename_component(nvcc ${nvcc} REALPATH)
      get_filename_component(root ${nvcc}/../.. ABSOLUTE)
      find_library(cudart NAMES cudart_static NO_CACHE NO_DEFAULT_PATH PATHS ${root}/lib64 ${root}/lib ${root}/targets/x86_64-linux/lib)
      if(cudart)
        message(STATUS "CUDA ${CMAKE_MATCH_1}: ${nvcc}")
        set(PRECIS_NVCC ${nvcc} PARENT_SCOPE)
        set(PRECIS_CUDART ${cudart} PARENT_SCOPE)
        find_path(include cuda_runtime_api.h NO_CACHE NO_DEFAULT_PATH PATHS ${root}/include ${root}/targets/x86_64-linux/include)
        set(PRECIS_CUDA_INCLUDE ${include} PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
  message(FATAL_ERROR "PRECIS_CUDA needs a CUDA toolkit from 12.4 on: put nvcc on the PATH or set CUDA_HOME, or run deploy/install-deps --cuda")
endfunction()

precis_find_cuda()

# precis_cuda_library(NAME SOURCES...): compiles each source to an object and what ptxas says of it to <object>.ptxas. Files with sm90 in their path are for
# sm_90a alone (wgmma, TMA); the others for sm_80, sm_90, and as compute_90 code for what comes.
function(precis_cuda_library name)
  set(common -std=c++20 -O3 -Xptxas -v -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror,-Wno-unused-parameter,-Wno-missing-field-initializers,-fPIC
    -I${PROJECT_SOURCE_DIR} --threads 0)
  foreach(source IN LISTS ARGN)
    file(RELATIVE_PATH relative ${PROJECT_SOURCE_DIR} ${source})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}/${relative}.o)
    if(relative MATCHES sm90)
      set(arch -fmad=false -gencode=arch=compute_90a,code=sm_90a)
    else()
      set(arch -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=[sm_90,compute_90])
    endif()
    add_custom_command(OUTPUT ${object} BYPRODUCTS ${object}.ptxas
      COMMAND ${PROJECT_SOURCE_DIR}/deploy/cmake/run_nvcc ${object} ${PRECIS_CCACHE} ${PRECIS_NVCC} ${common} ${arch} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
      DEPENDS ${source} ${PROJECT_SOURCE_DIR}/deploy/cmake/run_nvcc DEPFILE ${object}.d COMMENT "nvcc ${relative}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  add_library(${name} STATIC ${objects})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} SYSTEM PUBLIC ${PRECIS_CUDA_INCLUDE})
  target_link_libraries(${name} PUBLIC ${PRECIS_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
endfunction()
