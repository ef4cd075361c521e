# Writes OUT, a C++ source that defines `const std::span<const std::string_view> SYMBOL`, the lines of
# the text file IN, so that the program needs no file at run time. Lines and not one text: compilers
# bound the length of a literal. Run as: cmake -DIN=… -DOUT=… -DSYMBOL=… -P EmbedText.cmake
file(READ ${IN} text)
string(FIND "${text}" ")embedded\"" clash)
if(NOT clash EQUAL -1)
  message(FATAL_ERROR "${IN} contains the end mark of the literals it is embedded with")
endif()
string(REGEX REPLACE "\n$" "" text "${text}")
string(REPLACE "\n" ")embedded\",\n    R\"embedded(" literals "${text}")
file(WRITE ${OUT} "// Made by cmake/EmbedText.cmake.
#include <span>
#include <string_view>

namespace {
constexpr std::string_view kLines[] = {
    R\"embedded(${literals})embedded\"};
}  // namespace

extern const std::span<const std::string_view> ${SYMBOL};
const std::span<const std::string_view> ${SYMBOL}{kLines};
")
