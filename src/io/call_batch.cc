#include "io/call_batch.h"

#include <liburing.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "io/socket.h"
#include "io/warm.h"

namespace merlon::io {
namespace {

// What no call returns: it was not carried out.
constexpr int kNotYet = INT32_MIN;

io_uring_restriction may(int kind, int what) noexcept {
  io_uring_restriction rule{};
  rule.opcode = static_cast<__u16>(kind);
  rule.sqe_op = static_cast<__u8>(what);
  return rule;
}

/// Sends and receives, and nothing else, can be asked of the ring from now on. By the kernel's
/// call: the library of Debian 12 declares its own and does not export them.
bool restrict_ring(const io_uring& ring) noexcept {
  const std::array<io_uring_restriction, 2> rules{may(IORING_RESTRICTION_SQE_OP, IORING_OP_SEND),
                                                  may(IORING_RESTRICTION_SQE_OP, IORING_OP_RECV)};
  const auto ask = [&ring](unsigned what, const void* with, std::size_t count) {
    return ::syscall(SYS_io_uring_register, ring.ring_fd, what, with, count) == 0;
  };
  return ask(IORING_REGISTER_RESTRICTIONS, rules.data(), rules.size()) &&
         ask(IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

int call_alone(int fd, char* data, std::size_t size, int flags, bool sending) noexcept {
  for (;;) {
    // Not by the C library, for the reason told in socket.cc.
    const long n = sending ? ::syscall(SYS_sendto, fd, data, size, flags, nullptr, 0)
                           : ::syscall(SYS_recvfrom, fd, data, size, flags, nullptr, nullptr);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EINTR) return -errno;
  }
}

}  // namespace

std::unique_ptr<CallBatch> CallBatch::open() {
  auto ring = std::make_unique<io_uring>();
  io_uring_params params{};
  params.flags = IORING_SETUP_R_DISABLED;  // until it is restricted
  if (const int failed = io_uring_queue_init_params(kCallsMax, ring.get(), &params); failed < 0) {
    errno = -failed;
    return nullptr;
  }
  if (!restrict_ring(*ring)) {
    io_uring_queue_exit(ring.get());
    errno = EOPNOTSUPP;
    return nullptr;
  }
  return std::unique_ptr<CallBatch>(new CallBatch(std::move(ring)));
}

CallBatch::CallBatch(std::unique_ptr<io_uring> ring)
    : ring_(std::move(ring)),
      receive_bytes_(std::make_unique_for_overwrite<char[]>(kCallsMax * kReceiveBytes)),
      send_bytes_(std::make_unique_for_overwrite<char[]>(kSendArena)) {}

CallBatch::~CallBatch() {
  if (ring_ != nullptr) io_uring_queue_exit(ring_.get());
}

/// All calls by one entry. False when the ring did not take them all: those not carried out are
/// left as they were.
bool CallBatch::enter(Calls& calls, bool sending) noexcept {
  for (std::size_t i = 0; i < calls.count; ++i) {
    const Call& call = calls.all[i];
    io_uring_sqe* const entry = io_uring_get_sqe(ring_.get());
    if (entry == nullptr) return false;
    // MSG_DONTWAIT: what cannot be done at once fails with EAGAIN instead of going on by itself.
    if (sending) {
      io_uring_prep_send(entry, call.fd, call.data, call.size, call.flags | MSG_DONTWAIT);
    } else {
      io_uring_prep_recv(entry, call.fd, call.data, call.size, call.flags | MSG_DONTWAIT);
    }
    entry->user_data = i;
  }
  static_cast<void>(io_uring_submit(ring_.get()));
  unsigned head = 0;
  unsigned done = 0;
  io_uring_cqe* entry = nullptr;
  io_uring_for_each_cqe(ring_.get(), head, entry) {
    calls.all[entry->user_data].result = entry->res;
    ++done;
  }
  io_uring_cq_advance(ring_.get(), done);
  return done == calls.count;
}

void CallBatch::carry_out(Calls& calls, bool sending) noexcept {
  for (std::size_t i = 0; i < calls.count; ++i) calls.all[i].result = kNotYet;
  const bool worth_it = calls.count > 1 && ring_ != nullptr;
  if (worth_it && !enter(calls, sending)) {
    // The kernel had no memory, or the like. What it was given may still lie in the ring and must
    // not be done a second time, so the ring goes.
    io_uring_queue_exit(ring_.get());
    ring_.reset();
  }
  for (std::size_t i = 0; i < calls.count; ++i) {
    Call& call = calls.all[i];
    if (call.result == kNotYet || call.result == -EINTR)
      call.result = call_alone(call.fd, call.data, call.size, call.flags, sending);
  }
}

bool CallBatch::plan_receive(SocketStream& stream, int fd) noexcept {
  const std::size_t index = receives_.count;
  if (index == kCallsMax) return false;
  ++receives_.count;
  received_[index] = {.owner = &stream};
  receives_.all[index] = {
      .fd = fd, .data = receive_bytes_.get() + index * kReceiveBytes, .size = kReceiveBytes};
  return true;
}

void CallBatch::receive() noexcept {
  if (receives_.count < 2) {
    receives_.count = 0;
    return;
  }
  carry_out(receives_, false);
  std::array<void*, kCallsMax> frames;
  for (std::size_t i = 0; i < receives_.count; ++i) frames[i] = received_[i].owner->reading_frame();
  warm_coroutines(std::span(frames).first(receives_.count));
  for (std::size_t i = 0; i < receives_.count; ++i) {
    const Call& call = receives_.all[i];
    Received& received = received_[i];
    received.data = call.data;
    received.size = call.result > 0 ? static_cast<std::size_t>(call.result) : 0;
    received.error = call.result < 0 ? -call.result : 0;
    received.drained = call.result > 0 && received.size < call.size;
    received.owner->take_received(received);
  }
}

void CallBatch::give_back() noexcept {
  for (std::size_t i = 0; i < receives_.count; ++i) {
    if (received_[i].owner != nullptr) received_[i].owner->keep_received();
  }
  receives_.count = 0;
}

bool CallBatch::queue_send(SocketStream& stream, int fd, std::span<const iovec> pieces,
                           std::size_t bytes, int flags) noexcept {
  if (bytes > kSendBytesMax || ring_ == nullptr) return false;
  const bool waits = stream.has_queued_send();
  if (!waits && (sends_.count == kCallsMax || kSendArena - send_bytes_used_ < bytes)) send();
  char* at = send_bytes_.get() + send_bytes_used_;
  if (waits) {
    // Two sends of one socket in a batch would overtake each other when the first falls short.
    Call& last = sends_.all[sends_.count - 1];
    const bool behind = senders_[sends_.count - 1] == &stream && last.data + last.size == at;
    if (!behind || kSendArena - send_bytes_used_ < bytes) return false;
    last.size += bytes;
    last.flags = flags;
  } else {
    senders_[sends_.count] = &stream;
    sends_.all[sends_.count++] = {.fd = fd, .flags = flags, .data = at, .size = bytes};
  }
  for (const iovec& piece : pieces) {
    std::memcpy(at, piece.iov_base, piece.iov_len);
    at += piece.iov_len;
  }
  send_bytes_used_ += bytes;
  return true;
}

void CallBatch::tell(std::size_t index) noexcept {
  const Call& call = sends_.all[index];
  SocketStream* const sender = std::exchange(senders_[index], nullptr);
  if (sender != nullptr) sender->on_queue_sent({call.data, call.size}, call.result);
}

void CallBatch::send() noexcept {
  if (sends_.count == 0) return;
  carry_out(sends_, true);
  for (std::size_t i = 0; i < sends_.count; ++i) tell(i);
  sends_.count = send_bytes_used_ = 0;
}

void CallBatch::send_now(SocketStream& stream) noexcept {
  for (std::size_t i = 0; i < sends_.count; ++i) {
    if (senders_[i] != &stream) continue;
    Call& call = sends_.all[i];
    call.result = call_alone(call.fd, call.data, call.size, call.flags, true);
    tell(i);
    // Taken out, so that the batch does not send it again.
    const std::size_t last = --sends_.count;
    sends_.all[i] = sends_.all[last];
    senders_[i] = std::exchange(senders_[last], nullptr);
    break;
  }
  if (sends_.count == 0) send_bytes_used_ = 0;
}

}  // namespace merlon::io
