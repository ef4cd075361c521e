#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct io_uring;

namespace merlon::io {

class SocketStream;

/// What a socket received before its owner asked. It lies in the batch's memory until the events
/// that were fetched with it are delivered; what is left then, the stream keeps.
struct Received {
  SocketStream* owner = nullptr;  ///< null when it has gone
  const char* data = nullptr;
  std::size_t size = 0;
  int error = 0;         ///< errno; with size 0 and no error the peer has finished sending
  bool drained = false;  ///< there was room for more
};

/// Receives and sends of many sockets in one entry of the kernel, by io_uring. Entering costs more
/// than the work of a small receive in a virtual machine, and much of it on bare metal since the
/// processors' leaks were mended.
///
/// Nothing is asynchronous: each call is carried out inside the entry, without waiting, and its
/// result is known after it. The ring takes receives and sends only (IORING_REGISTER_RESTRICTIONS),
/// so whoever takes the process over can do nothing by it that sockets do not allow. Belongs to one
/// loop.
class CallBatch {
 public:
  /// Calls of one entry. Beyond a few each further one gains little, and the first waits longer.
  static constexpr std::size_t kCallsMax = 32;
  /// One receive: a whole TLS record (RFC 8446 §5.2), which is 16 KiB and what is added.
  static constexpr std::size_t kReceiveBytes = 17UL * 1024;
  /// Longer sends are not copied, they go out at once.
  static constexpr std::size_t kSendBytesMax = 8UL * 1024;

  /// Null, with errno, where the kernel has no io_uring or does not give it to this process.
  static std::unique_ptr<CallBatch> open();
  CallBatch(const CallBatch&) = delete;
  CallBatch& operator=(const CallBatch&) = delete;
  ~CallBatch();

  /// Has `stream` received for by the next `receive`. False when the batch is full.
  bool plan_receive(SocketStream& stream, int fd) noexcept;
  /// Receives for all that were planned and hands it to them. A single one is left to the stream,
  /// whose own call is cheaper.
  void receive() noexcept;
  /// The events that `receive` was for are delivered: its memory is wanted back.
  void give_back() noexcept;

  /// Takes `bytes` in pieces to be sent with the next `send`, copying them. False when they are too
  /// many, or when something else of `stream` waits and they do not fit behind it.
  bool queue_send(SocketStream& stream, int fd, std::span<const iovec> pieces, std::size_t bytes,
                  int flags) noexcept;
  /// Sends what is queued and tells the streams.
  void send() noexcept;
  /// Sends what is queued of `stream` alone.
  void send_now(SocketStream& stream) noexcept;

 private:
  /// One call, and what it returned: a number of bytes, or a negative errno.
  struct Call {
    int fd = -1;
    int flags = 0;
    char* data = nullptr;
    std::size_t size = 0;
    int result = 0;
  };
  struct Calls {
    std::array<Call, kCallsMax> all;
    std::size_t count = 0;
  };
  static constexpr std::size_t kSendArena = 64UL * 1024;

  explicit CallBatch(std::unique_ptr<io_uring> ring);
  void carry_out(Calls& calls, bool sending) noexcept;
  [[nodiscard]] bool enter(Calls& calls, bool sending) noexcept;
  void tell(std::size_t index) noexcept;

  std::unique_ptr<io_uring> ring_;  ///< null once it failed: each call is one of its own then
  Calls receives_;
  Calls sends_;
  std::array<Received, kCallsMax> received_;
  std::array<SocketStream*, kCallsMax> senders_{};  ///< null: gone, or told already
  std::size_t send_bytes_used_ = 0;
  std::unique_ptr<char[]> receive_bytes_;
  std::unique_ptr<char[]> send_bytes_;
};

}  // namespace merlon::io
