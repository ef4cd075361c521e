// An upstream's bytes: interim and final heads. The first byte chooses the request they answer.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/h1_response_parser.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using merlon::http::Framing;
  using merlon::http::Method;
  if (size == 0) return 0;
  const merlon::http::ResponseContext context{
      .method = (bytes[0] & 1) != 0 ? Method::kHead : Method::kGet,
      .upgrade_asked = (bytes[0] & 2) != 0};
  std::string_view data(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  while (true) {
    merlon::http::ResponseParser whole(context);
    merlon::http::ResponseParser bytewise(context);
    const auto head = whole.parse(data);
    merlon::Result<std::size_t> cut = std::size_t{0};
    for (std::size_t n = 0; n <= data.size() && cut && *cut == 0; ++n) {
      cut = bytewise.parse(data.substr(0, n));
    }
    require(head.has_value() == cut.has_value());
    if (!head) return 0;
    require(*head == *cut);
    if (*head == 0) return 0;
    require(whole.head().status >= 100 && whole.head().status <= 599);
    require(!whole.head().is_interim() || whole.head().framing == Framing::kNone);
    require(context.upgrade_asked || whole.head().status != 101);
    if (!whole.head().is_interim()) return 0;
    data.remove_prefix(*head);
  }
}
