#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/ip.h"
#include "io/loop.h"
#include "io/signal.h"
#include "io/task.h"

struct ares_channeldata;

namespace merlon::upstream {

/// Names to addresses without blocking the loop: c-ares, by the system's resolv.conf and hosts
/// file. One thread. Ends its questions when it goes; whoever waits must be gone by then.
class Resolver {
 public:
  static constexpr std::size_t kAddressesMax = 16;
  static constexpr std::size_t kQuestionsMax = 64;

  explicit Resolver(io::Loop& loop);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// The addresses of `host`, in the order to try, at most kAddressesMax; of a literal, itself.
  /// Errors: kUpstreamUnresolved (no such name, no name server, too many questions at once),
  /// kTimedOut, kCancelled.
  [[nodiscard]] io::Task<Result<std::vector<IpAddress>>> resolve(std::string host,
                                                                 Instant deadline);
  /// Ends all questions: who waits is told that there is no answer.
  void cancel() noexcept { close_channel(); }

 private:
  class Socket;
  class Pulse;
  struct Question;
  struct Callbacks;
  friend struct Callbacks;

  [[nodiscard]] bool open_channel();
  void close_channel() noexcept;
  void process(int readable, int writable) noexcept;

  io::Loop& loop_;
  ares_channeldata* channel_ = nullptr;
  Instant opened_at_{};
  std::size_t asked_ = 0;  ///< questions in progress
  std::map<int, std::unique_ptr<Socket>> sockets_;
  std::unique_ptr<Pulse> pulse_;  ///< for the timeouts of c-ares
};

}  // namespace merlon::upstream
