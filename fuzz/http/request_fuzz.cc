// A connection's bytes: heads and bodies of requests, whole and cut. Whatever comes, both ways of
// giving the bytes end the same, and every view lies inside the input.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/h1_body.h"
#include "http/h1_request_parser.h"

namespace {

using merlon::http::ChunkedDecoder;
using merlon::http::Field;
using merlon::http::Framing;
using merlon::http::LengthDecoder;
using merlon::http::RequestParser;

void require(bool holds) {
  if (!holds) std::abort();
}

bool inside(std::string_view view, std::string_view data) {
  return view.empty() ||
         (view.data() >= data.data() && view.data() + view.size() <= data.data() + data.size());
}

void check_views(const RequestParser& parser, std::string_view data) {
  for (const Field& field : parser.head().fields) {
    require(inside(field.name, data) && inside(field.value, data));
    require(!field.name.empty());
    require(field.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
  }
  require(inside(parser.head().authority, data));
  require(inside(parser.head().target.query, data));
}

/// Returns how many bytes the chunked body took, or npos when it is refused or cut off.
std::size_t decode(std::string_view data, std::size_t cut) {
  ChunkedDecoder decoder;
  std::size_t at = 0;
  while (at < data.size() && !decoder.done()) {
    const auto step = decoder.next(data.substr(at, cut));
    if (!step) return std::string_view::npos;
    require(inside(step->data, data));
    require(step->consumed > 0);
    at += step->consumed;
  }
  return decoder.done() ? at : std::string_view::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string_view data(reinterpret_cast<const char*>(bytes), size);
  RequestParser whole;
  RequestParser bytewise;
  while (!data.empty()) {
    whole.reset();
    bytewise.reset();
    const auto head = whole.parse(data);
    merlon::Result<std::size_t> cut = std::size_t{0};
    for (std::size_t n = 1; n <= data.size() && cut && *cut == 0; ++n) {
      cut = bytewise.parse(data.substr(0, n));
    }
    require(head.has_value() == cut.has_value());
    if (!head) return 0;
    require(*head == *cut);
    if (*head == 0) return 0;
    check_views(whole, data);
    data.remove_prefix(*head);
    if (whole.head().framing == Framing::kChunked) {
      const std::size_t body = decode(data, data.size());
      require(body == decode(data, 1));
      if (body == std::string_view::npos) return 0;
      data.remove_prefix(body);
    } else {
      LengthDecoder decoder(whole.head().content_length);
      data.remove_prefix(decoder.take(data).size());
    }
  }
  return 0;
}
