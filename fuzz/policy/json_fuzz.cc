// A body that a route judges: whole and cut at each byte it ends the same, and another reader of
// JSON takes what is taken; then a schema with every kind of judgement looks at it.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "policy/json_check.h"
#include "policy/json_schema.h"
#include "policy/media_type.h"

namespace {

using merlon::policy::JsonChecker;
using merlon::policy::JsonSchema;

void require(bool holds) {
  if (!holds) std::abort();
}

std::uint16_t judge(std::string_view text, std::size_t cut, std::size_t& names) {
  JsonChecker checker(64);
  for (const std::string_view part : {text.substr(0, cut), text.substr(cut)}) {
    const auto taken = checker.take(part);
    if (!taken) return taken.error().code;
  }
  names = checker.names();
  const auto ended = checker.finish();
  return ended ? std::uint16_t{0} : ended.error().code;
}

const JsonSchema& schema() {
  static const auto made = JsonSchema::read(
      R"({"type":"object","properties":{"a":{"pattern":"^(x+x+)+y"},"b":{"format":"date-time"},
          "c":{"items":{"anyOf":[{"$ref":"#"},{"type":"number","multipleOf":0.5}]}}},
          "propertyNames":{"maxLength":8},"maxProperties":20})");
  require(made.has_value());
  return **made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  merlon::policy::MediaType type;
  static_cast<void>(merlon::policy::parse_media_type(text, type));
  std::size_t names = 0;
  const std::uint16_t whole = judge(text, 0, names);
  for (std::size_t cut = 1; cut <= size && cut < 200; ++cut) {
    std::size_t cut_names = 0;
    require(judge(text, cut, cut_names) == whole);
  }
  if (whole != 0) return 0;
  try {
    static_cast<void>(nlohmann::json::parse(text));
  } catch (const nlohmann::json::out_of_range&) {
    // A number beyond a double is JSON.
  } catch (const nlohmann::json::exception&) {
    std::abort();
  }
  std::string pointer;
  static_cast<void>(schema().judge(text, names, &pointer));
  return 0;
}
