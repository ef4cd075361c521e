#pragma once

#include <array>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/signal.h"
#include "io/socket.h"
#include "io/task.h"
#include "state/redis/reply.h"
#include "state/redis/settings.h"

namespace merlon::state::redis {

/// A connection to one server. Commands of one turn of the loop go out in one write, and answers
/// come back in the order of the commands; nobody waits for the answer of another (pipelining).
///
/// Each command waits for `timeout` at most. The first that waits longer ends the connection, and
/// with it everything that waits: whatever stands behind it would wait in vain, too. One whose own
/// deadline comes earlier, since it waited before for something else, gives up alone. One worker.
class Connection {
 public:
  /// Commands that may wait for answers; more are refused with kStateBusy.
  static constexpr std::size_t kWaitingMax = 4096;

  /// `ended` is notified when the connection is over. `timeout` is for whoever sets no deadline.
  Connection(io::Loop& loop, std::unique_ptr<io::SocketStream> stream, milliseconds timeout,
             io::Signal& ended) noexcept;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  /// Moves bytes until the connection is over; then everything that waited has been failed, and it
  /// may be destroyed once those who waited have gone on.
  [[nodiscard]] io::Task<void> run();
  /// Sends `commands` in one piece, so that none of another comes between, and waits for the answer
  /// to the last of them; those to the `skip` before it are passed over. kStateTimeout, kStateLost,
  /// kStateProtocol, kStateBusy. Errors that Redis answers are replies.
  [[nodiscard]] io::Task<Result<Reply>> ask(std::string commands, std::uint32_t skip = 0,
                                            Instant deadline = Instant::max());
  /// Ends the connection: `why` is what everything that waits is told.
  void close(Error why) noexcept;

  [[nodiscard]] bool is_over() const noexcept { return over_; }
  [[nodiscard]] const Error& why() const noexcept { return why_; }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }
  /// When the last answer came.
  [[nodiscard]] Instant last_answer() const noexcept { return last_answer_; }

 private:
  /// Lives in the frame of `ask`. The timer is for a deadline of its own.
  struct Waiter : io::Timer {
    Waiter(Connection& of, std::uint32_t passed_over) noexcept
        : Timer(&Waiter::fire), connection(of), skip(passed_over) {}
    static void fire(Timer& timer) noexcept;

    Connection& connection;
    std::coroutine_handle<> handle;
    std::uint32_t skip = 0;  ///< answers still to be passed over; it stands in line for each
    Result<Reply> outcome{};
  };
  /// Of an answer to come.
  struct Place {
    Waiter* waiter = nullptr;  ///< null: it has given up
    Instant deadline;
  };
  struct Arrival {
    Waiter& waiter;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const noexcept { waiter.handle = handle; }
    void await_resume() const noexcept {}
  };
  class Overdue final : public io::Timer {
   public:
    explicit Overdue(Connection& connection) noexcept
        : Timer(&Overdue::fire), connection_(connection) {}

   private:
    static void fire(Timer& timer) noexcept;
    Connection& connection_;
  };

  [[nodiscard]] io::Task<void> read();
  [[nodiscard]] io::Task<void> write();
  [[nodiscard]] bool take(std::string_view bytes);
  void answer(const Reply& reply);
  void give_up(Waiter& waiter) noexcept;
  void fail_all() noexcept;
  void judge_overdue() noexcept;

  io::Loop& loop_;
  std::unique_ptr<io::SocketStream> stream_;
  const milliseconds timeout_;
  io::Signal& ended_;
  io::Signal more_;
  Overdue overdue_;
  ReplyReader reader_;
  std::deque<Place> waiting_;
  std::string out_;      ///< commands that are not sent yet
  std::string sending_;  ///< commands that are being sent
  std::array<char, 16UL * 1024> in_;
  Instant last_answer_{};
  Error why_{};
  bool over_ = false;
};

/// Connects to `endpoint`, in TLS where the settings say so, before `deadline`.
[[nodiscard]] io::Task<Result<std::unique_ptr<io::SocketStream>>> connect(
    io::Loop& loop, io::Broker& broker, Endpoint endpoint, std::shared_ptr<const Settings> settings,
    Instant deadline);

}  // namespace merlon::state::redis
