#pragma once

#include <array>
#include <span>
#include <variant>

#include "base/error.h"
#include "http/h1_body.h"
#include "http/h1_write.h"
#include "io/stream.h"
#include "io/task.h"

namespace merlon::http {

/// Where heads are put together: one buffer per thread, since most writes end at once. What could
/// not be written is copied before anything waits.
std::span<char> head_scratch() noexcept;

/// A body part on its way out. `chunked`: it gets a chunk header, and `last` closes the body with
/// `trailers`.
struct OutPart {
  std::string_view data;
  bool chunked = false;
  bool last = false;
  std::span<const Field> trailers{};
};
/// How long a write may wait: until a deadline, or for as long as the peer keeps pace
/// (Stream::write_paced).
using WritePatience = std::variant<Instant, io::Stream::Pace>;
/// Writes `head`, which may stand in head_scratch() with room behind it, and the part. What the
/// socket takes at once costs no coroutine; a rest is written as room comes. `part.data` stays
/// valid until then.
[[nodiscard]] io::Task<Result<void>> write_out(io::Stream& stream, std::string_view head,
                                               OutPart part, WritePatience patience);

}  // namespace merlon::http
