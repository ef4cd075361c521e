#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "http/h2_session.h"
#include "io/signal.h"
#include "io/stream.h"
#include "io/task.h"

namespace merlon::http {

/// Carries a session's bytes over a stream: what both sides of HTTP/2 share. One coroutine reads;
/// one writes, and takes what all streams have ready into one write. An idle connection holds no
/// buffer.
class H2Connection : protected H2Session::Host {
 public:
  /// Frames that wait to be written. Many streams' answers fit, so that one write carries them; a
  /// send wakes the peer, which costs more than the bytes.
  static constexpr std::size_t kBlockBytes = 128 * 1024;

  [[nodiscard]] H2Session& session() noexcept { return session_; }
  [[nodiscard]] io::Loop& loop() const noexcept { return stream_.loop(); }
  /// Puts what is due into the block and has it written later in this turn.
  void pump() noexcept;
  /// Ends whatever waits; run() returns soon.
  void abort() noexcept;
  /// Why nothing more can be read, as a code; 0 as long as it can, and behind a regular end.
  [[nodiscard]] std::uint16_t input_error() const noexcept { return input_error_; }

 protected:
  /// `stream` outlives this.
  H2Connection(io::Stream& stream, const H2Settings& settings);
  ~H2Connection() override;

  /// Reads and writes until the connection is over. `begun`: bytes that were read already.
  [[nodiscard]] io::Task<void> transfer(std::string_view begun);
  /// Makes the reader look again at deadlines and at whether the connection is over.
  void look_again() noexcept { stream_.cancel_read(); }
  [[nodiscard]] bool aborted() const noexcept { return aborted_; }
  /// The peer takes nothing more, and what it said before is still being read.
  [[nodiscard]] bool unwritable() const noexcept { return unwritable_; }

  /// When to call on_deadline if nothing is read until then.
  [[nodiscard]] virtual Instant deadline() const noexcept = 0;
  virtual void on_deadline() noexcept = 0;
  /// Bytes were taken in, or look_again() was called: streams may have begun.
  virtual void on_received() = 0;
  /// A peer that does not read gets nothing more read either, whose answers would only pile up.
  [[nodiscard]] virtual bool reads_whatever_is_written() const noexcept { return false; }
  /// Nothing moves any more: every stream is told.
  virtual void on_end() noexcept = 0;

  io::Stream& stream_;
  H2Session session_;

 private:
  enum class Input : std::uint8_t { kDrained, kMore, kEnded };
  [[nodiscard]] Input take_input() noexcept;
  [[nodiscard]] io::Task<void> read_loop(std::string_view begun);
  [[nodiscard]] io::Task<void> write_loop();

  std::unique_ptr<char[]> block_;
  std::size_t block_begin_ = 0;
  std::size_t block_end_ = 0;
  io::Signal wake_;     ///< the writer
  io::Signal written_;  ///< the reader, when it waits for room
  std::uint16_t input_error_ = 0;
  bool aborted_ = false;
  bool unwritable_ = false;
  bool quiet_ = false;    ///< nothing has come for a while, and idle memory is given back
  bool closing_ = false;  ///< no more input: the writer ends when all is out
};

}  // namespace merlon::http
