#include "io/call_batch.h"

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "io/socket.h"

namespace merlon::io {
namespace {

/// A stream, and its peer as a plain descriptor.
struct Line {
  std::unique_ptr<SocketStream> stream;
  Fd peer;

  void say(const std::string& text) const {
    ASSERT_EQ(::write(peer.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  /// What has come, "" when nothing has, "end" at the end.
  [[nodiscard]] std::string hear() const {
    std::string text(64 * 1024, '\0');
    const ssize_t n = ::recv(peer.get(), text.data(), text.size(), MSG_DONTWAIT);
    if (n == 0) return "end";
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
};

Task<void> read_once(Stream& stream, std::string& text, Result<std::size_t>& outcome) {
  text.resize(1024);
  outcome = co_await stream.read(text, Instant::max());
  text.resize(outcome ? *outcome : 0);
}

/// Reads, then does what is asked.
Task<void> read_and_then(Stream& stream, std::function<void()> then) {
  char block[64];
  static_cast<void>(co_await stream.read(block, Instant::max()));
  then();
}

Task<void> echo(Stream& stream) {
  std::string block(32 * 1024, '\0');
  for (;;) {
    const Result<std::size_t> n = co_await stream.read(block, Instant::max());
    if (!n || *n == 0) break;
    iovec piece{block.data(), *n};
    const Result<void> sent = co_await stream.write({&piece, 1}, Instant::max());
    if (!sent) break;
  }
}

Task<void> flush(Stream& stream, Result<void>& outcome) {
  outcome = co_await stream.write({}, Instant::max());
}

Attempt put(Stream& stream, std::string text) {
  const iovec piece{text.data(), text.size()};
  return stream.try_write({&piece, 1});
}

/// Without a batch everything holds as well: a call each.
class Batch : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::unique_ptr<CallBatch> batch = GetParam() ? CallBatch::open() : nullptr;
    if (GetParam() && batch == nullptr) GTEST_SKIP() << "the kernel gives no io_uring";
    batch_ = batch.get();
    loop_ = std::make_unique<Loop>(clock_, make_epoll_poller(), std::move(batch));
  }
  Line line(int send_buffer = 0) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    if (send_buffer != 0)
      EXPECT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer), 0);
    return {.stream = std::make_unique<SocketStream>(*loop_, Fd(ends[0])), .peer = Fd(ends[1])};
  }
  std::vector<Line> lines(std::size_t count) {
    std::vector<Line> made;
    while (made.size() < count) made.push_back(line());
    turn();  // they tell that they are writable
    return made;
  }
  void turn() {
    for (int i = 0; i < 4; ++i) loop_->turn(milliseconds{0});
  }
  /// Within a turn, where the batch is in use.
  void in_a_turn(const std::function<void()>& what) {
    loop_->send(what);
    loop_->turn(milliseconds{100});
  }

  const SystemClock clock_;
  CallBatch* batch_ = nullptr;
  std::unique_ptr<Loop> loop_;
  TaskSet tasks_;
};

TEST_P(Batch, ServesMoreSocketsThanItHoldsCalls) {
  std::vector<Line> all = lines(3 * CallBatch::kCallsMax + 1);
  for (const Line& each : all) tasks_.spawn(echo(*each.stream));
  for (const std::size_t bytes : {1UL, 500UL, CallBatch::kReceiveBytes, 30'000UL, 7UL}) {
    for (std::size_t i = 0; i < all.size(); ++i)
      all[i].say(std::string(bytes, static_cast<char>('A' + i % 26)));
    turn();
    for (std::size_t i = 0; i < all.size(); ++i)
      EXPECT_EQ(all[i].hear(), std::string(bytes, static_cast<char>('A' + i % 26))) << i;
  }
  for (Line& each : all) each.peer.reset();
  turn();
  EXPECT_TRUE(tasks_.empty());
}

TEST_P(Batch, KeepsWhatNobodyReads) {
  std::vector<Line> two = lines(2);
  std::string text;
  Result<std::size_t> outcome = 0;
  tasks_.spawn(read_and_then(*two[0].stream, [&] { two[1].stream->cancel_read(); }));
  tasks_.spawn(read_once(*two[1].stream, text, outcome));
  two[0].say("go");
  two[1].say("received ahead, ");
  turn();
  ASSERT_TRUE(tasks_.empty());
  // Depends on whose event comes first; never is anything lost.
  std::string got = text;
  two[1].say("and later");
  turn();
  EXPECT_TRUE(two[1].stream->readable());
  EXPECT_TRUE(two[1].stream->has_news());
  char few[5];
  for (Attempt read = two[1].stream->try_read(few); read.status == Attempt::Status::kOk;
       read = two[1].stream->try_read(few))
    got.append(few, read.n);
  EXPECT_EQ(got, "received ahead, and later");
  EXPECT_FALSE(two[1].stream->has_news());
}

TEST_P(Batch, ReadsTheEndBehindTheBytes) {
  std::vector<Line> two = lines(2);
  std::string texts[2];
  Result<std::size_t> outcomes[2] = {0, 0};
  for (std::size_t i = 0; i < 2; ++i) {
    tasks_.spawn(read_once(*two[i].stream, texts[i], outcomes[i]));
    two[i].say("last words");
    two[i].peer.reset();
  }
  turn();
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(texts[i], "last words");
    char byte[1];
    EXPECT_EQ(two[i].stream->try_read(byte).status, Attempt::Status::kEnd);
  }
}

TEST_P(Batch, KeepsWhatTheKernelDoesNotTake) {
  const Line narrow = line(4 * 1024);
  turn();
  std::string said;
  Attempt::Status last = Attempt::Status::kOk;
  in_a_turn([&] {
    for (char c = 'a'; c <= 'z' && last == Attempt::Status::kOk; ++c) {
      const std::string text(CallBatch::kSendBytesMax, c);
      const Attempt attempt = put(*narrow.stream, text);
      last = attempt.status;
      if (last == Attempt::Status::kOk) said += text.substr(0, attempt.n);
    }
  });
  EXPECT_EQ(last, Attempt::Status::kWouldBlock);
  Result<void> flushed = fail(1, Blame::kInternal, "not yet");
  tasks_.spawn(flush(*narrow.stream, flushed));
  narrow.stream->finish_writing();
  std::string heard;
  for (int i = 0; i < 1'000 && !heard.ends_with("end"); ++i) {
    heard += narrow.hear();
    turn();
  }
  EXPECT_TRUE(heard == said + "end") << heard.size() << " of " << said.size();
  EXPECT_TRUE(flushed.has_value());
  EXPECT_TRUE(tasks_.empty());
}

TEST_P(Batch, TellsThatThePeerTakesNoMore) {
  std::vector<Line> two = lines(2);
  for (Line& each : two) each.peer.reset();
  in_a_turn([&] {
    for (const Line& each : two) static_cast<void>(put(*each.stream, "anybody there?"));
  });
  for (const Line& each : two) {
    const Attempt again = put(*each.stream, "hello?");
    EXPECT_EQ(again.status, Attempt::Status::kError);
    EXPECT_EQ(again.code, code::kBrokenPipe);
    Result<void> outcome;
    tasks_.spawn(flush(*each.stream, outcome));
    EXPECT_EQ(outcome.has_value(), !GetParam()) << "nothing was taken, or it is known to be lost";
  }
}

TEST_P(Batch, SendsInOrderHoweverItIsPutTogether) {
  std::vector<Line> all = lines(CallBatch::kCallsMax + 8);
  const std::string longer(CallBatch::kSendBytesMax + 1, '#');
  in_a_turn([&] {
    for (const Line& each : all) EXPECT_EQ(put(*each.stream, "one ").n, 4U);
    for (const Line& each : all) EXPECT_EQ(put(*each.stream, "two ").n, 4U);
    for (const Line& each : all) EXPECT_EQ(put(*each.stream, "three ").n, 6U);
    all[1].stream.reset();
    EXPECT_EQ(put(*all[2].stream, longer).n, longer.size());
    all[3].stream->finish_writing();
  });
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i].hear(), "one two three " + (i == 2 ? longer : "")) << i;
  EXPECT_EQ(all[1].hear(), "end");
  EXPECT_EQ(all[3].hear(), "end");
}

/// Both ends of a TCP connection over loopback.
std::pair<Fd, Fd> tcp_pair() {
  const Fd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener.get(), generic, size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), generic, &size), 0);
  Fd client(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(client.get(), generic, size), 0);
  return {Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK)), std::move(client)};
}

// The kernel tells of a reset once: here it tells the send, and the reader must not take what it
// finds then for an end.
TEST_P(Batch, ReadsAResetThatASendWasToldOf) {
  auto [accepted, client] = tcp_pair();
  SocketStream stream(*loop_, std::move(accepted));
  turn();
  Attempt put_attempt;
  in_a_turn([&, peer = std::make_shared<Fd>(std::move(client))] {
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(::setsockopt(peer->get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    peer->reset();
    put_attempt = put(stream, "anybody there?");
  });
  turn();
  char byte[1];
  const Attempt got = stream.try_read(byte);
  if (GetParam()) {
    EXPECT_EQ(put_attempt.status, Attempt::Status::kOk);
    EXPECT_EQ(got.code, code::kReset);
  } else {
    EXPECT_EQ(put_attempt.code, code::kReset) << "told at once, and not a second time";
  }
}

TEST_P(Batch, KnowsWhetherAllWasHandedOver) {
  const Line wide = line();
  const Line narrow = line(4 * 1024);
  turn();
  in_a_turn([&] {
    EXPECT_EQ(put(*wide.stream, "short").n, 5U);
    EXPECT_TRUE(wide.stream->hand_over());
    EXPECT_EQ(wide.hear(), "short") << "it went out at once";
    while (put(*narrow.stream, std::string(4'000, 'x')).status == Attempt::Status::kOk) {
    }
    EXPECT_EQ(narrow.stream->hand_over(), !GetParam())
        << "a batch took more than there was room for";
  });
}

INSTANTIATE_TEST_SUITE_P(WithAndWithout, Batch, testing::Bool(),
                         [](const auto& info) { return info.param ? "a_batch" : "a_call_each"; });

// The error is given to the first receive alone: who asks later must still hear of it.
TEST(CallBatch, KeepsAnErrorForWhoAsksLater) {
  const SystemClock clock;
  std::unique_ptr<CallBatch> opened = CallBatch::open();
  if (opened == nullptr) GTEST_SKIP() << "the kernel gives no io_uring";
  CallBatch& batch = *opened;
  Loop loop(clock, make_epoll_poller(), std::move(opened));
  std::vector<std::unique_ptr<SocketStream>> streams;
  for (std::size_t i = 0; i < 2; ++i) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    // Closed with bytes unread, a peer resets (unix(7)).
    ASSERT_EQ(::write(ends[0], "unread", 6), 6);
    ::close(ends[1]);
    streams.push_back(std::make_unique<SocketStream>(loop, Fd(ends[0])));
    ASSERT_TRUE(batch.plan_receive(*streams.back(), ends[0]));
  }
  batch.receive();
  batch.give_back();
  for (const auto& stream : streams) {
    char byte[1];
    const Attempt got = stream->try_read(byte);
    EXPECT_EQ(got.status, Attempt::Status::kError);
    EXPECT_EQ(got.code, code::kReset);
  }
}

TEST(CallBatch, TakesNothingButSendsAndReceives) {
  const std::unique_ptr<CallBatch> batch = CallBatch::open();
  if (batch == nullptr) GTEST_SKIP() << "the kernel gives no io_uring";
  int ring = -1;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) == "anon_inode:[io_uring]")
      ring = std::stoi(entry.path().filename());
  }
  ASSERT_GE(ring, 0);
  int event = -1;
  EXPECT_EQ(::syscall(SYS_io_uring_register, ring, IORING_REGISTER_EVENTFD, &event, 1), -1);
  EXPECT_EQ(errno, EACCES) << "registering is refused once the ring is restricted";
}

}  // namespace
}  // namespace merlon::io
