#pragma once

#include <nghttp2/nghttp2.h>

namespace merlon::http {

/// Memory for one session of nghttp2. It keeps a buffer for a frame of the largest size, 16 KiB, of
/// which it seldom uses more than the first bytes: that one comes from pages that the kernel backs
/// when they are touched, and can be given back while the session is idle. All else is of the
/// thread's pool. Made and destroyed on one thread; outlives the session.
class H2Memory {
 public:
  H2Memory() = default;
  H2Memory(const H2Memory&) = delete;
  H2Memory& operator=(const H2Memory&) = delete;

  /// For nghttp2_session_server_new3 and its like, which copy it.
  [[nodiscard]] nghttp2_mem interface() noexcept;
  /// Lets go of the pages behind the frame buffer: no frame is being written.
  void release_idle() noexcept;

 private:
  friend struct H2MemoryCalls;
  void* frame_buffer_ = nullptr;
};

}  // namespace merlon::http
