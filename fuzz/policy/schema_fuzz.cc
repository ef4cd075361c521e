// A schema that somebody wrote: it is refused or judges without harm.
#include <cstdint>
#include <string>
#include <string_view>

#include "policy/json_check.h"
#include "policy/json_schema.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto schema = merlon::policy::JsonSchema::read(text);
  if (!schema) return 0;
  constexpr std::string_view kBodies[] = {R"({"a":[1,"x",{"b":null}],"c":-1.5e3})", "[[[]]]",
                                          R"("text")", "7"};
  for (const std::string_view body : kBodies) {
    merlon::policy::JsonChecker checker;
    if (!checker.take(body) || !checker.finish()) return 0;
    std::string pointer;
    static_cast<void>((*schema)->judge(body, checker.names(), &pointer));
  }
  return 0;
}
