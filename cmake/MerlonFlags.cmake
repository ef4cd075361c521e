# Flags that every target of Merlon is compiled with.
find_package(PkgConfig REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(yaml REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(nghttp2 REQUIRED IMPORTED_TARGET libnghttp2)
pkg_check_modules(cares REQUIRED IMPORTED_TARGET libcares)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(uring REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
find_path(MERLON_VALIJSON valijson/validator.hpp REQUIRED)

find_program(MERLON_CCACHE ccache)
if(MERLON_CCACHE)
  # What one clone has compiled serves the next, in whatever folder that is.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      ${MERLON_CCACHE})
endif()

# Archives without an index: lld reads none, and the machine's `ar` may be older than the compiler
# and unable to read what -flto=thin makes.
set(CMAKE_CXX_ARCHIVE_CREATE "<CMAKE_AR> qcS <TARGET> <LINK_FLAGS> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_APPEND "<CMAKE_AR> qS <TARGET> <LINK_FLAGS> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")

function(merlon_flags target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wswitch-enum -Werror)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    # The limit table changes 16 bytes at once; every x86-64 processor since 2006 has cmpxchg16b.
    target_compile_options(${target} PRIVATE -mcx16)
  endif()
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${target} PUBLIC MERLON_VERSION="${PROJECT_VERSION}")
  if(MERLON_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${MERLON_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${MERLON_SANITIZE})
  endif()
  if(MERLON_FUZZ)
    target_compile_options(${target} PUBLIC -fsanitize=fuzzer-no-link)
  endif()
  if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    # Libraries are bound at start (-z now), so calls need no stubs for a later binding.
    target_compile_options(${target} PUBLIC -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
      -D_GLIBCXX_ASSERTIONS -fcf-protection=full -fno-plt -flto=thin)
    target_link_options(${target} PUBLIC -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -flto=thin)
  else()
    target_compile_options(${target} PRIVATE -fno-omit-frame-pointer)
  endif()
  target_link_options(${target} PUBLIC -fuse-ld=lld)
endfunction()
