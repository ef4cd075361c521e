#include "state/redis/connection.h"

#include <sys/uio.h>

#include <utility>

#include "tls/tls_stream.h"

namespace merlon::state::redis {
namespace {

// A connection that is not used is looked at by those who own it; this only bounds the wait.
constexpr std::chrono::hours kIdle{1};

Error lost(const char* what) noexcept {
  return {.code = code::kStateLost, .blame = Blame::kUpstream, .what = what};
}

Error late() noexcept {
  return {.code = code::kStateTimeout,
          .blame = Blame::kUpstream,
          .what = "Redis did not answer in time"};
}

}  // namespace

Connection::Connection(io::Loop& loop, std::unique_ptr<io::SocketStream> stream,
                       milliseconds timeout, io::Signal& ended) noexcept
    : loop_(loop),
      stream_(std::move(stream)),
      timeout_(timeout),
      ended_(ended),
      more_(loop),
      overdue_(*this),
      last_answer_(loop.now()) {}

Connection::~Connection() = default;

io::Task<void> Connection::run() {
  io::Fork writing(write());
  co_await read();
  close(lost("the connection to Redis ended"));
  more_.cancel();
  co_await writing.join();
  fail_all();
  ended_.notify_all();
}

io::Task<Result<Reply>> Connection::ask(std::string commands, std::uint32_t skip,
                                        Instant deadline) {
  if (over_) co_return std::unexpected(why_);
  if (waiting_.size() >= kWaitingMax)
    co_return fail(code::kStateBusy, Blame::kUpstream, "too much waits for Redis already");
  const Instant silent_at = loop_.now() + timeout_;
  if (deadline <= loop_.now()) co_return std::unexpected(late());
  Waiter waiter(*this, skip);
  out_ += commands;
  waiting_.insert(waiting_.end(), skip + 1, {.waiter = &waiter, .deadline = silent_at});
  if (!overdue_.armed()) loop_.timers().arm(overdue_, silent_at);
  if (deadline < silent_at) loop_.timers().arm(waiter, deadline);
  more_.notify_one();
  co_await Arrival{waiter};
  co_return std::move(waiter.outcome);
}

void Connection::close(Error why) noexcept {
  if (over_) return;
  over_ = true;
  why_ = why;
  stream_->cancel();
  more_.cancel();
}

io::Task<void> Connection::write() {
  while (!over_) {
    if (out_.empty()) {
      [[maybe_unused]] const Result<void> woken = co_await more_.wait(loop_.now() + kIdle);
      continue;
    }
    sending_.clear();
    std::swap(out_, sending_);
    iovec piece{.iov_base = sending_.data(), .iov_len = sending_.size()};
    const Result<void> sent = co_await stream_->write({&piece, 1}, loop_.now() + timeout_);
    if (!sent) close(lost("commands to Redis cannot be sent"));
  }
}

io::Task<void> Connection::read() {
  while (!over_) {
    const Result<std::size_t> got = co_await stream_->read(in_, loop_.now() + kIdle);
    if (!got && got.error().code == code::kTimedOut) continue;
    if (!got || *got == 0) co_return;
    if (!over_ && !take({in_.data(), *got})) co_return;
  }
}

/// False: what came is no answer, and the connection is over.
bool Connection::take(std::string_view bytes) {
  const Result<void> fed = reader_.feed(bytes);
  if (!fed) {
    close(fed.error());
    return false;
  }
  for (;;) {
    const Result<const Reply*> reply = reader_.next();
    if (reply && *reply == nullptr) return true;
    if (!reply || waiting_.empty()) {
      close(reply ? Error{.code = code::kStateProtocol,
                          .blame = Blame::kUpstream,
                          .what = "Redis answers what nobody asked"}
                  : reply.error());
      return false;
    }
    answer(**reply);
  }
}

void Connection::answer(const Reply& reply) {
  Waiter* const waiter = waiting_.front().waiter;
  waiting_.pop_front();
  last_answer_ = loop_.now();
  if (waiter == nullptr) return;
  if (waiter->skip > 0) {
    --waiter->skip;
    return;
  }
  waiter->outcome = reply;
  waiter->disarm();
  loop_.post(waiter->handle);
}

void Connection::Waiter::fire(Timer& timer) noexcept {
  Waiter& waiter = static_cast<Waiter&>(timer);
  waiter.connection.give_up(waiter);
}

/// Its answer may still come, and is for nobody.
void Connection::give_up(Waiter& waiter) noexcept {
  for (Place& place : waiting_) {
    if (place.waiter == &waiter) place.waiter = nullptr;
  }
  waiter.outcome = std::unexpected(late());
  loop_.post(waiter.handle);
}

void Connection::fail_all() noexcept {
  while (!waiting_.empty()) {
    Waiter* const waiter = waiting_.front().waiter;
    waiting_.pop_front();
    if (waiter == nullptr) continue;
    if (waiter->skip > 0) {
      --waiter->skip;
      continue;
    }
    waiter->outcome = std::unexpected(why_);
    waiter->disarm();
    loop_.post(waiter->handle);
  }
}

void Connection::Overdue::fire(Timer& timer) noexcept {
  static_cast<Overdue&>(timer).connection_.judge_overdue();
}

void Connection::judge_overdue() noexcept {
  if (waiting_.empty()) return;
  const Instant deadline = waiting_.front().deadline;
  if (deadline > loop_.now()) {
    loop_.timers().arm(overdue_, deadline);
    return;
  }
  close(late());
}

io::Task<Result<std::unique_ptr<io::SocketStream>>> connect(
    io::Loop& loop, io::Broker& broker, Endpoint endpoint, std::shared_ptr<const Settings> settings,
    Instant deadline) {
  if (settings->tls == nullptr) co_return co_await io::connect(loop, broker, endpoint, deadline);
  Result<std::unique_ptr<tls::TlsStream>> secured =
      co_await tls::connect_tls(loop, broker, endpoint, settings->tls, deadline);
  if (!secured) co_return std::unexpected(secured.error());
  std::unique_ptr<io::SocketStream> stream = std::move(*secured);
  co_return stream;
}

}  // namespace merlon::state::redis
