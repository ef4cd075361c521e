# merlon_room(NAME [USES ROOM...] [LIBS TARGET...])
#
# A room is one folder of src/: its sources become a static library merlon_NAME, its *_test.cc one
# test program merlon_NAME_test, its *_bench.cc one benchmark program, and fuzz/NAME/*_fuzz.cc one
# libFuzzer program each.
if(MERLON_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(MERLON_BENCH)
  find_package(benchmark REQUIRED)
endif()

function(merlon_room name)
  cmake_parse_arguments(ROOM "" "" "USES;LIBS" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/src/${name})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${dir}/*.cc)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "(_test|_bench|/main)\\.cc$")
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  set(benches ${all})
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(TRANSFORM ROOM_USES PREPEND merlon_)

  add_library(merlon_${name} STATIC ${sources})
  merlon_flags(merlon_${name})
  target_link_libraries(merlon_${name} PUBLIC ${ROOM_USES} ${ROOM_LIBS} Threads::Threads)

  if(MERLON_TESTS AND tests)
    add_executable(merlon_${name}_test ${tests})
    merlon_flags(merlon_${name}_test)
    target_compile_definitions(merlon_${name}_test PRIVATE MERLON_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    target_link_libraries(merlon_${name}_test PRIVATE merlon_${name} GTest::gtest_main GTest::gmock)
    add_test(NAME unit.${name} COMMAND merlon_${name}_test)
    set_tests_properties(unit.${name} PROPERTIES TIMEOUT 600)
  endif()

  if(MERLON_BENCH AND benches)
    add_executable(merlon_${name}_bench ${benches})
    merlon_flags(merlon_${name}_bench)
    target_link_libraries(merlon_${name}_bench PRIVATE merlon_${name} benchmark::benchmark_main)
  endif()

  if(MERLON_FUZZ)
    file(GLOB fuzzers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/${name}/*_fuzz.cc)
    foreach(source ${fuzzers})
      get_filename_component(fuzzer ${source} NAME_WE)
      add_executable(${fuzzer} EXCLUDE_FROM_ALL ${source})
      merlon_flags(${fuzzer})
      target_link_libraries(${fuzzer} PRIVATE merlon_${name})
      target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer)
    endforeach()
  endif()
endfunction()

# merlon_embed(TARGET FILE SYMBOL): compiles the lines of a text file into the target
# (cmake/EmbedText.cmake says how they look from C++).
function(merlon_embed target file symbol)
  set(in ${PROJECT_SOURCE_DIR}/${file})
  set(out ${PROJECT_BINARY_DIR}/generated/${symbol}.cc)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${in} -DOUT=${out} -DSYMBOL=${symbol}
            -P ${PROJECT_SOURCE_DIR}/cmake/EmbedText.cmake
    DEPENDS ${in} ${PROJECT_SOURCE_DIR}/cmake/EmbedText.cmake VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
