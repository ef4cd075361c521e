#include "io/stream.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <thread>

#include "io/signal.h"
#include "io/simulation.h"
#include "io/socket.h"
#include "io/task.h"

namespace merlon::io {
namespace {

class Simulated : public testing::Test {
 protected:
  ManualClock clock_;
  Loop loop_{clock_, std::make_unique<SimulatedPoller>(clock_)};
  void run_until_idle(TaskSet& tasks) {
    for (int i = 0; i < 100'000 && !tasks.empty(); ++i) loop_.turn(milliseconds{60'000});
    ASSERT_TRUE(tasks.empty());
  }
};

Task<void> send_text(Stream& stream, std::string text, Instant deadline, Result<void>& outcome) {
  iovec pieces[2] = {{text.data(), 1}, {text.data() + 1, text.size() - 1}};
  outcome = co_await stream.write(pieces, deadline);
  stream.finish_writing();
}

Task<void> receive_all(Stream& stream, std::string& got, Instant deadline,
                       Result<std::size_t>& last) {
  char block[7];
  for (;;) {
    last = co_await stream.read(block, deadline);
    if (!last || *last == 0) break;
    got.append(block, *last);
  }
}

TEST_F(Simulated, MovesMoreThanThePipeHolds) {
  auto [a, b] = SimulatedStream::make_pair(loop_, 16);
  TaskSet tasks;
  Result<void> sent;
  Result<std::size_t> last = 1;
  std::string got;
  const std::string text(1000, 'x');
  tasks.spawn(receive_all(*b, got, loop_.now() + seconds{5}, last));
  tasks.spawn(send_text(*a, text, loop_.now() + seconds{5}, sent));
  run_until_idle(tasks);
  EXPECT_TRUE(sent.has_value());
  EXPECT_EQ(got, text);
  EXPECT_EQ(*last, 0U);
}

TEST_F(Simulated, WhatFollowsATaskFindsTheSetWithoutIt) {
  auto [a, b] = SimulatedStream::make_pair(loop_, 16);
  TaskSet tasks;
  Result<std::size_t> last = 1;
  std::string got;
  bool followed = false;
  tasks.spawn(receive_all(*b, got, loop_.now() + seconds{5}, last), [&] {
    EXPECT_EQ(*last, 0U);
    EXPECT_TRUE(tasks.empty());
    followed = true;
  });
  EXPECT_FALSE(tasks.empty());
  a->finish_writing();
  run_until_idle(tasks);
  EXPECT_TRUE(followed);
}

TEST_F(Simulated, AReadEndsAtItsDeadlineAndNotBefore) {
  auto [a, b] = SimulatedStream::make_pair(loop_, 16);
  TaskSet tasks;
  Result<std::size_t> last = 1;
  std::string got;
  const Instant deadline = loop_.now() + milliseconds{2500};
  tasks.spawn(receive_all(*b, got, deadline, last));
  run_until_idle(tasks);
  ASSERT_FALSE(last.has_value());
  EXPECT_EQ(last.error().code, code::kTimedOut);
  EXPECT_GE(clock_.now(), deadline);
  EXPECT_LE(clock_.now(), deadline + milliseconds{2});
}

TEST_F(Simulated, AnEarlierDeadlineIsNotHeldBackByALaterOne) {
  auto [a, b] = SimulatedStream::make_pair(loop_, 1);
  TaskSet tasks;
  Result<void> sent;
  Result<std::size_t> last = 1;
  std::string got;
  const Instant start = loop_.now();
  tasks.spawn(receive_all(*b, got, start + seconds{60}, last));
  tasks.spawn(send_text(*b, "abc", start + seconds{1}, sent));
  run_until_idle(tasks);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, code::kTimedOut);
  EXPECT_FALSE(last.has_value());
  EXPECT_GE(clock_.now(), start + seconds{60});
}

Task<void> send_paced(Stream& stream, std::string text, Result<void>& outcome) {
  iovec piece{text.data(), text.size()};
  outcome = co_await stream.write_paced({&piece, 1});
  stream.finish_writing();
}

/// Takes `bytes` a second until the end; tells when that was.
Task<void> take_slowly(Loop& loop, Stream& stream, std::size_t bytes, std::size_t& taken) {
  std::string block(bytes, 0);
  for (;;) {
    co_await loop.sleep_until(loop.now() + seconds{1});
    const Result<std::size_t> n = co_await stream.read(block, loop.now() + seconds{60});
    if (!n || *n == 0) break;
    taken += *n;
  }
}

TEST_F(Simulated, APacedWriteGoesOnForAsLongAsThePeerKeepsPace) {
  const struct {
    std::size_t bytes_per_second;
    bool whole;
  } cases[] = {{2048, true}, {1400, true}, {900, false}, {10, false}};
  for (const auto& c : cases) {
    // The pipe is as large as a socket's buffers may be: that something fits says nothing.
    auto [a, b] = SimulatedStream::make_pair(loop_, 30 * 1024);
    TaskSet tasks;
    Result<void> sent;
    std::size_t taken = 0;
    const Instant start = loop_.now();
    tasks.spawn(send_paced(*a, std::string(100 * 1024, 'x'), sent));
    tasks.spawn(take_slowly(loop_, *b, c.bytes_per_second, taken));
    run_until_idle(tasks);
    EXPECT_EQ(sent.has_value(), c.whole) << c.bytes_per_second;
    if (c.whole) {
      EXPECT_EQ(taken, 100U * 1024) << c.bytes_per_second;
      EXPECT_GT(loop_.now() - start, seconds{40});
    } else {
      EXPECT_EQ(sent.error().code, code::kTimedOut);
    }
  }
}

TEST_F(Simulated, APacedWriteToAPeerThatTakesNothingEnds) {
  auto [a, b] = SimulatedStream::make_pair(loop_, 16);
  TaskSet tasks;
  Result<void> sent;
  const Instant start = loop_.now();
  tasks.spawn(send_paced(*a, std::string(100, 'x'), sent));
  run_until_idle(tasks);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, code::kTimedOut);
  EXPECT_GE(loop_.now() - start, Stream::kLeastPace.interval);
  EXPECT_LE(loop_.now() - start, Stream::kLeastPace.interval + milliseconds{2});
}

TEST_F(Simulated, CancellingEndsBothSides) {
  auto [a, b] = SimulatedStream::make_pair(loop_, 1);
  TaskSet tasks;
  Result<void> sent;
  Result<std::size_t> last = 1;
  std::string got;
  tasks.spawn(receive_all(*b, got, loop_.now() + seconds{60}, last));
  tasks.spawn(send_text(*b, "abc", loop_.now() + seconds{60}, sent));
  b->cancel();
  loop_.turn(milliseconds{0});
  EXPECT_TRUE(tasks.empty());
  EXPECT_EQ(sent.error().code, code::kCancelled);
  EXPECT_EQ(last.error().code, code::kCancelled);
}

Task<void> wait_for(Signal& signal, Instant deadline, std::vector<std::uint16_t>& log) {
  const Result<void> got = co_await signal.wait(deadline);
  log.push_back(got ? 0 : got.error().code);
}

TEST_F(Simulated, SignalsWakeInOrderAndTimeOut) {
  TaskSet tasks;
  std::vector<std::uint16_t> log;
  auto signal = std::make_unique<Signal>(loop_);
  tasks.spawn(wait_for(*signal, loop_.now() + seconds{1}, log));
  tasks.spawn(wait_for(*signal, loop_.now() + seconds{2}, log));
  tasks.spawn(wait_for(*signal, loop_.now() + seconds{30}, log));
  EXPECT_TRUE(signal->notify_one());
  loop_.turn(milliseconds{0});
  EXPECT_EQ(log, (std::vector<std::uint16_t>{0}));
  const Instant until = loop_.now() + seconds{3};
  while (loop_.now() < until) loop_.turn(milliseconds{100});
  EXPECT_EQ(log, (std::vector<std::uint16_t>{0, code::kTimedOut}));
  signal.reset();
  loop_.turn(milliseconds{0});
  EXPECT_EQ(log.back(), code::kCancelled);
  EXPECT_TRUE(tasks.empty());
}

Task<void> child(Loop& loop, int& steps) {
  for (int i = 0; i < 3; ++i) {
    co_await loop.yield();
    ++steps;
  }
}
Task<void> parent(Loop& loop, int& steps, bool& joined) {
  Fork fork(child(loop, steps));
  co_await loop.yield();
  co_await fork.join();
  joined = true;
}

TEST_F(Simulated, AForkIsJoined) {
  TaskSet tasks;
  int steps = 0;
  bool joined = false;
  tasks.spawn(parent(loop_, steps, joined));
  run_until_idle(tasks);
  EXPECT_EQ(steps, 3);
  EXPECT_TRUE(joined);
}

// The same over the kernel's loopback.
Task<void> echo_once(std::unique_ptr<SocketStream> stream) {
  char block[1024];
  for (;;) {
    const Result<std::size_t> n = co_await stream->read(block, stream->loop().now() + seconds{5});
    if (!n || *n == 0) break;
    iovec piece{block, *n};
    const Result<void> sent =
        co_await stream->write({&piece, 1}, stream->loop().now() + seconds{5});
    if (!sent) break;
  }
}

Task<void> ask(Loop& loop, Broker& broker, Endpoint endpoint, std::string& answer,
               std::uint16_t& code) {
  Result<std::unique_ptr<SocketStream>> stream =
      co_await connect(loop, broker, endpoint, loop.now() + seconds{5});
  if (!stream) {
    code = stream.error().code;
    co_return;
  }
  std::string text(100'000, 'q');
  Result<void> sent;
  Fork writer(send_text(**stream, text, loop.now() + seconds{5}, sent));
  Result<std::size_t> last = 1;
  co_await receive_all(**stream, answer, loop.now() + seconds{5}, last);
  co_await writer.join();
}

TEST(Socket, EchoesOverLoopbackAndReportsARefusedConnection) {
  const SystemClock clock;
  Loop loop(clock);
  const auto broker = make_local_broker();
  OsResult<Fd> listener =
      broker->listen_tcp(Endpoint{.address = IpAddress::v4(0x7f000001), .port = 0}, {});
  ASSERT_TRUE(listener.has_value());
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(listener->get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const Endpoint endpoint = *Endpoint::from_sockaddr(reinterpret_cast<sockaddr*>(&address));

  TaskSet tasks;
  auto acceptor = std::make_unique<Acceptor>(
      loop, std::move(*listener),
      [&](Fd fd, const Endpoint&) {
        tasks.spawn(echo_once(std::make_unique<SocketStream>(loop, std::move(fd))));
      },
      [] {});
  std::string answer;
  std::uint16_t code = 0;
  tasks.spawn(ask(loop, *broker, endpoint, answer, code));
  for (int i = 0; i < 10'000 && !tasks.empty(); ++i) loop.turn(milliseconds{100});
  EXPECT_TRUE(tasks.empty());
  EXPECT_EQ(code, 0);
  EXPECT_EQ(answer.size(), 100'000U);

  acceptor.reset();
  tasks.spawn(ask(loop, *broker, endpoint, answer, code));
  for (int i = 0; i < 10'000 && !tasks.empty(); ++i) loop.turn(milliseconds{100});
  EXPECT_EQ(code, code::kRefused);
}

// With socket activation others hold the listening socket, too: it outlives the acceptor.
TEST(Acceptor, HearsNothingMoreOfASocketThatOthersHold) {
  const SystemClock clock;
  Loop loop(clock);
  const auto broker = make_local_broker();
  OsResult<Fd> listener =
      broker->listen_tcp(Endpoint{.address = IpAddress::v4(0x7f000001), .port = 0}, {});
  ASSERT_TRUE(listener.has_value());
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(listener->get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const Fd held(::dup(listener->get()));
  int accepted = 0;
  auto acceptor = std::make_unique<Acceptor>(
      loop, std::move(*listener), [&](Fd, const Endpoint&) { ++accepted; }, [] {});
  const auto connect_and_turn = [&] {
    const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    for (int i = 0; i < 5; ++i) loop.turn(milliseconds{20});
  };
  connect_and_turn();
  EXPECT_EQ(accepted, 1);
  acceptor->close();
  acceptor.reset();
  connect_and_turn();
  EXPECT_EQ(accepted, 1) << "it waits for whoever holds the socket";
}

/// A thread that accepts, with clients that have sockets and are not connected yet.
struct Accepting {
  Loop loop;
  sockaddr_in address{};
  std::vector<Fd> clients;
  std::vector<Fd> accepted;
  std::size_t shed = 0;
  std::atomic<std::size_t> seen = 0;
  std::unique_ptr<Acceptor> acceptor;

  Accepting(const SystemClock& clock, Broker& broker, std::size_t count) : loop(clock) {
    OsResult<Fd> listener =
        broker.listen_tcp(Endpoint{.address = IpAddress::v4(0x7f000001), .port = 0}, {});
    if (!listener) throw std::runtime_error("no listener");
    socklen_t length = sizeof address;
    ::getsockname(listener->get(), reinterpret_cast<sockaddr*>(&address), &length);
    acceptor = std::make_unique<Acceptor>(
        loop, std::move(*listener),
        [this](Fd fd, const Endpoint&) {
          accepted.push_back(std::move(fd));
          ++seen;
        },
        [this] { ++shed, ++seen; });
    for (std::size_t i = 0; i < count; ++i)
      clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  [[nodiscard]] bool connect_all() const {
    return std::ranges::all_of(clients, [this](const Fd& client) {
      return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
             0;
    });
  }
};

// Acceptors of two threads take descriptors from one another, those given up to shed among them.
TEST(Acceptor, LeavesNobodyWaitingWhenSeveralAreOutOfDescriptors) {
  constexpr std::size_t kClients = 60;
  constexpr rlim_t kLeft = 6;
  const SystemClock clock;
  const auto broker = make_local_broker();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  for (int round = 0; round < 20; ++round) {
    Accepting one(clock, *broker, kClients / 2);
    Accepting other(clock, *broker, kClients / 2);
    rlimit low = before;
    low.rlim_cur = static_cast<rlim_t>(Fd(::dup(one.clients[0].get())).get()) + kLeft;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    EXPECT_TRUE(one.connect_all());
    EXPECT_TRUE(other.connect_all());
    std::atomic<bool> over = false;
    const auto accept_until_over = [&over](Accepting& side) {
      while (!over) side.loop.turn(milliseconds{1});
    };
    std::thread first(accept_until_over, std::ref(one));
    std::thread second(accept_until_over, std::ref(other));
    const auto deadline = std::chrono::steady_clock::now() + seconds{20};
    while (one.seen + other.seen < kClients && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(milliseconds{1});
    over = true;
    first.join();
    second.join();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_EQ(one.seen + other.seen, kClients) << "the others wait, in round " << round;
    EXPECT_LE(one.accepted.size() + other.accepted.size(), kLeft);
    EXPECT_GE(one.shed + other.shed, kClients - kLeft);
  }
}

// A worker opens its listeners while others accept already.
TEST(Acceptor, TakesNoClientFromOthersWhenItBegins) {
  constexpr std::size_t kClients = 200;
  const SystemClock clock;
  const auto broker = make_local_broker();
  Accepting side(clock, *broker, kClients);
  std::atomic<bool> over = false;
  std::thread accepting([&] {
    while (!over) side.loop.turn(milliseconds{1});
  });
  Loop loop(clock);
  std::thread connecting([&] { EXPECT_TRUE(side.connect_all()); });
  const auto deadline = std::chrono::steady_clock::now() + seconds{20};
  while (side.seen < kClients && std::chrono::steady_clock::now() < deadline) {
    OsResult<Fd> listener =
        broker->listen_tcp(Endpoint{.address = IpAddress::v4(0x7f000001), .port = 0}, {});
    ASSERT_TRUE(listener.has_value());
    const Acceptor another(loop, std::move(*listener), [](Fd, const Endpoint&) {}, [] {});
  }
  connecting.join();
  over = true;
  accepting.join();
  EXPECT_EQ(side.accepted.size(), kClients);
  EXPECT_EQ(side.shed, 0U);
}

// A read that fills its buffer to the last byte cannot tell whether more is there.
TEST(Socket, HasNoNewsWhenAllWasRead) {
  const SystemClock clock;
  Loop loop(clock);
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  SocketStream stream(loop, Fd(ends[0]));
  const Fd peer(ends[1]);
  char block[4];
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(::write(peer.get(), "abcd", 4), 4);
    loop.turn(milliseconds{100});
    EXPECT_TRUE(stream.has_news());
    EXPECT_EQ(stream.try_read(block).n, 4U);
    EXPECT_TRUE(stream.readable()) << "it has to look";
    EXPECT_FALSE(stream.has_news());
  }
  ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
  loop.turn(milliseconds{100});
  EXPECT_TRUE(stream.has_news()) << "the end is news";
}

}  // namespace
}  // namespace merlon::io
