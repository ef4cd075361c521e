# Merlon's data plane is made of coroutines. g++ before 14 miscompiles them (conditions, aggregates,
# ternaries and lambdas inside await expressions were seen to go wrong with 12.2), which no test can
# rule out, so such a compiler is refused here rather than trusted.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
    message(FATAL_ERROR
      "g++ ${CMAKE_CXX_COMPILER_VERSION} miscompiles C++ coroutines, on which every connection of Merlon runs. "
      "Use clang 16 or newer (Debian 12: apt-get install clang-19, then cmake --preset release), or g++ 14 or newer.")
  endif()
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
    message(FATAL_ERROR "clang ${CMAKE_CXX_COMPILER_VERSION} is too old for C++23: use clang 16 or newer (Debian 12: clang-19).")
  endif()
else()
  message(FATAL_ERROR "Merlon is built with clang 16 or newer, or g++ 14 or newer; this is ${CMAKE_CXX_COMPILER_ID}.")
endif()
