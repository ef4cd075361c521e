#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace merlon::http {

/// Memory for one session of nghttp2. What lives as long as the session lies on a few pages of its
/// own: the session, its tables, most entries of HPACK's, and a buffer for a frame of the largest
/// size. Hardly any of it is ever written to, so that while the session rests it is kept as the
/// words that are not zero, and the kernel has the pages. All else is of the thread's pool. Made
/// and destroyed on one thread; outlives the session.
class H2Memory {
 public:
  H2Memory() noexcept;
  H2Memory(const H2Memory&) = delete;
  H2Memory& operator=(const H2Memory&) = delete;
  ~H2Memory();

  /// For nghttp2_session_server_new3 and its like, which copy it.
  [[nodiscard]] nghttp2_mem interface() noexcept;
  /// The session is made: from now on its pages take only small pieces, such as entries of HPACK's
  /// tables, and not what comes and goes with a stream.
  void session_made() noexcept { made_ = true; }
  /// Gives the pages back: no frame is being written. Until `wake` nothing of the session may be
  /// used. Does nothing where memory for the copy is wanting.
  void rest() noexcept;
  /// All is as it was before `rest`.
  void wake() noexcept {
    if (kept_ != nullptr) [[unlikely]]
      restore();
  }
  [[nodiscard]] bool resting() const noexcept { return kept_ != nullptr; }

 private:
  friend struct H2MemoryCalls;
  struct FreePiece;
  /// Whatever nghttp2 has written there.
  using Word [[gnu::may_alias]] = std::uint64_t;
  static constexpr std::size_t kSmallWordsMax = 16;

  [[nodiscard]] void* take_again(std::size_t index, std::size_t bytes) noexcept;
  [[nodiscard]] void* take_new(std::size_t bytes) noexcept;
  void give_back(void* piece, std::size_t bytes) noexcept;
  [[nodiscard]] bool holds(const void* memory) const noexcept;
  [[nodiscard]] char* frame_buffer() const noexcept;
  void restore() noexcept;

  char* slot_;                                     ///< null: all is of the pool
  Word* words_;                                    ///< in the slot
  std::size_t used_ = 0;                           ///< of those
  std::array<FreePiece*, kSmallWordsMax> free_{};  ///< by size in words
  std::unique_ptr<Word[]> kept_;                   ///< while it rests
  bool frame_buffer_taken_ = false;
  bool made_ = false;
};

}  // namespace merlon::http
