// Paths, queries and hosts: the canonical form is its own canonical form, and has nothing in it
// that a second reading could decode into something else.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/host.h"
#include "http/path.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_path(std::string_view raw) {
  using merlon::http::PathOddity;
  std::string scratch(raw.size(), '\0');
  const auto path = merlon::http::canonical_path(raw, scratch);
  if (!path) return;
  require(path->text.starts_with('/') && path->text.size() <= raw.size());
  require(path->text.find('\\') == std::string_view::npos);
  require(path->text.find("%00") == std::string_view::npos);
  require(path->text.find("%2E") == std::string_view::npos);
  require(std::string(path->text).append("/").find("/../") == std::string::npos);
  const bool slash = path->text.find("%2F") != std::string_view::npos;
  require(slash == path->oddities.contains(PathOddity::kEncodedSlash));
  const bool empty = path->text.find("//") != std::string_view::npos;
  require(empty == path->oddities.contains(PathOddity::kEmptySegment));
  std::string again_scratch(path->text.size(), '\0');
  const auto again = merlon::http::canonical_path(path->text, again_scratch);
  require(again.has_value() && again->text == path->text && again->oddities == path->oddities);
}

void check_host(std::string_view raw) {
  std::array<char, merlon::http::kHostBytesMax> scratch;
  const auto host = merlon::http::canonical_host(raw, scratch);
  if (!host) return;
  require(!host->name.empty() && !host->name.ends_with('.'));
  std::array<char, merlon::http::kHostBytesMax> again_scratch;
  std::string text(host->name);
  if (host->name.find(':') != std::string_view::npos) text = "[" + text + "]";
  const auto again = merlon::http::canonical_host(text, again_scratch);
  require(again.has_value() && again->name == host->name && again->address == host->address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view data(reinterpret_cast<const char*>(bytes), size);
  check_path(data);
  check_host(data);
  if (merlon::http::check_query(data)) require(data.find('#') == std::string_view::npos);
  return 0;
}
