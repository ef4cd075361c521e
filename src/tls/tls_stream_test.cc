#include "tls/tls_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tls/test_wire.h"

namespace merlon::tls {
namespace {

using test::RawClient;
using test::shake;
using test::tcp_pair;

io::Task<void> send_all(TlsStream& stream, std::vector<iovec> pieces, Instant deadline,
                        Result<void>& outcome) {
  outcome = co_await stream.write(pieces, deadline);
  stream.finish_writing();
}

io::Task<void> receive_all(TlsStream& stream, std::string& got, std::size_t block, Instant deadline,
                           Result<std::size_t>& last) {
  std::string into(block, '\0');
  for (;;) {
    last = co_await stream.read(into, deadline);
    if (!last || *last == 0) break;
    got.append(into, 0, *last);
  }
}

class Stream : public test::Wire {
 protected:
  std::shared_ptr<const ServerContext> context_ = server({pki_.pair("DNS:a.test")});

  /// A server stream with its handshake under way, and a client in the test's hands.
  void begin(std::shared_ptr<const ServerContext> context) {
    auto [accepted, connected] = tcp_pair();
    stream_ = std::make_unique<TlsStream>(loop_, std::move(accepted), std::move(context));
    raw_ = std::make_unique<RawClient>(loop_, std::move(connected));
    tasks_.spawn(shake(*stream_, soon(), outcome_));
  }
  /// One read that should find its data or its end at once.
  Result<std::size_t> read_once(std::string& into) {
    Result<std::size_t> got = 0;
    tasks_.spawn(read(*stream_, into, soon(), got));
    run(tasks_);
    return got;
  }
  static io::Task<void> read(TlsStream& stream, std::string& into, Instant deadline,
                             Result<std::size_t>& got) {
    got = co_await stream.read(into, deadline);
  }

  io::TaskSet tasks_;
  std::unique_ptr<TlsStream> stream_;
  std::unique_ptr<RawClient> raw_;
  Result<void> outcome_;
};

TEST_F(Stream, ShakesHandsAndTellsWhatWasAgreed) {
  auto ends = connect(context_, client("a.test", {"http/1.1"}));
  ASSERT_TRUE(ends.ok());
  EXPECT_EQ(ends.server->server_name(), "a.test");
  EXPECT_STREQ(ends.server->version(), "TLSv1.3");
  EXPECT_STREQ(ends.server->cipher(), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(ends.server->alpn(), "http/1.1");
  EXPECT_EQ(ends.client->alpn(), "http/1.1");
  EXPECT_TRUE(ends.server->covers("a.test"));
  EXPECT_FALSE(ends.server->covers("b.test"));
  EXPECT_FALSE(ends.server->resumed());
}

TEST_F(Stream, MovesMuchInManyPiecesBothWays) {
  auto ends = connect(context_, client("a.test"));
  ASSERT_TRUE(ends.ok());
  std::string text(5'000'000, '\0');
  std::iota(text.begin(), text.end(), '\0');
  for (const std::size_t piece : {std::size_t{7'001}, std::size_t{100'000}, text.size()}) {
    ends = connect(context_, client("a.test"));
    std::vector<iovec> pieces;
    for (std::size_t i = 0; i < text.size(); i += piece)
      pieces.push_back({text.data() + i, std::min(piece, text.size() - i)});
    std::string there;
    std::string back;
    Result<void> sent[2];
    Result<std::size_t> last[2] = {1, 1};
    // Both directions at once: more than any socket buffer holds, so every write is cut.
    tasks_.spawn(send_all(*ends.client, pieces, soon(), sent[0]));
    tasks_.spawn(send_all(*ends.server, pieces, soon(), sent[1]));
    for (int i = 0; i < 20; ++i) loop_.turn(milliseconds{1});
    tasks_.spawn(receive_all(*ends.server, there, 3'333, soon(), last[0]));
    tasks_.spawn(receive_all(*ends.client, back, 100'000, soon(), last[1]));
    run(tasks_);
    EXPECT_TRUE(sent[0].has_value() && sent[1].has_value());
    EXPECT_TRUE(there == text);
    EXPECT_TRUE(back == text);
    EXPECT_TRUE(last[0].has_value() && last[1].has_value());
  }
}

TEST_F(Stream, StreamsThatShareTheBlockKeepTheirBytes) {
  auto one = connect(context_, client("a.test"));
  auto two = connect(context_, client("a.test"));
  ASSERT_TRUE(one.ok() && two.ok());
  std::string text(40'000, 'x');
  std::ranges::copy("begin", text.begin());
  Result<void> sent;
  tasks_.spawn(send_all(*one.client, {{text.data(), text.size()}}, soon(), sent));
  tasks_.spawn(send_all(*two.client, {{text.data(), text.size()}}, soon(), sent));
  run(tasks_);
  for (int i = 0; i < 10; ++i) loop_.turn(milliseconds{1});
  std::string got_one;
  std::string got_two;
  char small[11];
  for (int i = 0; i < 100'000 && got_one.size() + got_two.size() < 2 * text.size(); ++i) {
    // Taking turns: each read finds the shared block in the other's hands.
    for (auto [stream, got] :
         {std::pair{one.server.get(), &got_one}, std::pair{two.server.get(), &got_two}}) {
      if (!stream->readable()) continue;
      const io::Attempt attempt = stream->try_read(small);
      if (attempt.status == io::Attempt::Status::kOk) got->append(small, attempt.n);
    }
  }
  EXPECT_TRUE(got_one == text);
  EXPECT_TRUE(got_two == text);
}

TEST_F(Stream, AnEndWithoutCloseNotifyIsTold) {
  begin(context_);
  raw_->name("a.test");
  ASSERT_EQ(raw_->shake(), 1);
  run(tasks_);
  ASSERT_TRUE(outcome_.has_value());
  ASSERT_TRUE(raw_->receive());  // what stays unread would turn the close into a reset
  raw_->close();
  std::string into(100, '\0');
  const Result<std::size_t> got = read_once(into);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, code::kTlsTruncated);
}

// What the batch of a turn could not send is told to the next write, which must not wait for room
// that never comes.
TEST_F(Stream, AWriteAfterAResetDoesNotWait) {
  Ends ends = connect(context_, client("a.test"));
  ASSERT_TRUE(ends.ok());
  loop_.send([&] {
    ends.client->reset_on_close();
    ends.client.reset();
    std::string text = "anybody there?";
    const iovec piece{text.data(), text.size()};
    static_cast<void>(ends.server->try_write({&piece, 1}));
  });
  loop_.turn(milliseconds{100});
  loop_.turn(milliseconds{10});
  std::string much(100'000, 'x');
  Result<void> outcome;
  tasks_.spawn(send_all(*ends.server, {iovec{much.data(), much.size()}}, soon(), outcome));
  run(tasks_);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_NE(outcome.error().code, code::kTimedOut);
}

TEST_F(Stream, AClientHelloInPiecesOfOneByteStillFindsItsName) {
  auto both = server({pki_.pair("DNS:a.test"), pki_.pair("DNS:b.test")});
  // CVE-2026-32305: a name not seen because the hello was cut meant another policy.
  begin(both);
  raw_->name("b.test");
  EXPECT_EQ(raw_->shake([&](const std::string& flight) {
    for (const char byte : flight) raw_->send(std::string(1, byte));
  }),
            1);
  run(tasks_);
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_EQ(stream_->server_name(), "b.test");

  begin(both);
  raw_->name("b.test");
  bool first = true;
  EXPECT_EQ(raw_->shake([&](const std::string& flight) {
    if (!std::exchange(first, false)) return raw_->send(flight);
    std::string records;
    for (const char byte : flight.substr(5)) {
      records += flight.substr(0, 3) + std::string("\0\1", 2) + byte;
    }
    raw_->send(records);
  }),
            1);
  run(tasks_);
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_EQ(stream_->server_name(), "b.test");
  EXPECT_TRUE(stream_->covers("b.test"));
  EXPECT_FALSE(stream_->covers("a.test"));
}

TEST_F(Stream, WhatIsNotTlsIsToldFromTls) {
  struct Case {
    const char* name;
    std::string bytes;
    std::uint16_t want;
  };
  const Case cases[] = {
      {"plain HTTP", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", code::kTlsNotTls},
      {"zeros", std::string(100, '\0'), code::kTlsNotTls},
      {"SSL 2.0", std::string("\x80\x2e\x01\x03\x01", 5) + std::string(50, 'x'), code::kTlsVersion},
      {"data before a hello", std::string("\x17\x03\x03\x00\x01x", 6), code::kTlsNotTls},
      {"an alert first", std::string("\x15\x03\x03\x00\x02\x02\x28", 7), code::kTlsHandshake},
  };
  for (const Case& c : cases) {
    begin(context_);
    raw_->send(c.bytes);
    run(tasks_);
    ASSERT_FALSE(outcome_.has_value()) << c.name;
    EXPECT_EQ(outcome_.error().code, c.want) << c.name << ": " << outcome_.error().what;
    EXPECT_EQ(outcome_.error().blame, Blame::kClient);
  }
}

TEST_F(Stream, AHandshakeHasADeadlineAndAnEnd) {
  auto [accepted, connected] = tcp_pair();
  TlsStream silent(loop_, std::move(accepted), context_);
  tasks_.spawn(shake(silent, loop_.now() + milliseconds{20}, outcome_));
  run(tasks_);
  ASSERT_FALSE(outcome_.has_value());
  EXPECT_EQ(outcome_.error().code, code::kTimedOut);

  begin(context_);
  raw_->close();
  run(tasks_);
  ASSERT_FALSE(outcome_.has_value());
  EXPECT_EQ(outcome_.error().code, code::kClosed);
}

TEST_F(Stream, NothingIsReadOrWrittenBeforeTheHandshake) {
  begin(context_);
  char byte = 'x';
  const iovec piece{&byte, 1};
  EXPECT_EQ(stream_->try_read({&byte, 1}).status, io::Attempt::Status::kError);
  EXPECT_EQ(stream_->try_write({&piece, 1}).status, io::Attempt::Status::kError);
  raw_->close();
  run(tasks_);
}

TEST_F(Stream, RenegotiationIsRefused) {
  begin(context_);
  SSL_CTX_set_max_proto_version(raw_->context(), TLS1_2_VERSION);
  raw_->name("a.test");
  ASSERT_EQ(raw_->shake(), 1);
  run(tasks_);
  ASSERT_TRUE(outcome_.has_value());
  EXPECT_STREQ(stream_->version(), "TLSv1.2");
  ASSERT_EQ(SSL_renegotiate(raw_->ssl()), 1);
  SSL_do_handshake(raw_->ssl());
  raw_->send(raw_->take_output());
  std::string into(10, '\0');
  for (int i = 0; i < 10; ++i) {
    loop_.turn(milliseconds{1});
    if (stream_->readable()) {
      EXPECT_NE(stream_->try_read(into).status, io::Attempt::Status::kOk);
    }
  }
  raw_->receive();
  ERR_clear_error();
  const int result = SSL_do_handshake(raw_->ssl());
  EXPECT_NE(result, 1);
  EXPECT_EQ(SSL_get_error(raw_->ssl(), result), SSL_ERROR_SSL);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
}

TEST_F(Stream, AFloodOfKeyUpdatesEndsTheConnection) {
  begin(context_);
  raw_->name("a.test");
  ASSERT_EQ(raw_->shake(), 1);
  run(tasks_);
  std::string flood;
  for (int i = 0; i < 200; ++i) {
    SSL_key_update(raw_->ssl(), SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(raw_->ssl());
    flood += raw_->take_output();
  }
  raw_->send(flood);
  std::string into(10, '\0');
  const Result<std::size_t> got = read_once(into);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, code::kTlsProtocol);
}

TEST_F(Stream, AFewKeyUpdatesAreFine) {
  begin(context_);
  raw_->name("a.test");
  ASSERT_EQ(raw_->shake(), 1);
  run(tasks_);
  for (int i = 0; i < 5; ++i) {
    SSL_key_update(raw_->ssl(), SSL_KEY_UPDATE_REQUESTED);
    SSL_write(raw_->ssl(), "hello", 5);
    raw_->send(raw_->take_output());
    std::string into(10, '\0');
    const Result<std::size_t> got = read_once(into);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(*got, 5U);
  }
}

TEST_F(Stream, BytesBeforeTlsAreReadApartAndGivenBack) {
  auto [accepted, connected] = tcp_pair();
  TlsStream stream(loop_, std::move(accepted), context_);
  RawClient raw(loop_, std::move(connected));
  raw.name("a.test");
  SSL_do_handshake(raw.ssl());
  raw.send("PROXY\r\n" + raw.take_output());
  std::string into(4096, '\0');
  Result<std::size_t> got = 0;
  struct Reader {
    static io::Task<void> read(TlsStream& from, std::string& to, Instant deadline,
                               Result<std::size_t>& n) {
      n = co_await from.read_before_tls(to, deadline);
    }
  };
  tasks_.spawn(Reader::read(stream, into, soon(), got));
  run(tasks_);
  ASSERT_TRUE(got.has_value());
  ASSERT_TRUE(into.starts_with("PROXY\r\n"));
  stream.unread(std::span(into).subspan(7, *got - 7));
  tasks_.spawn(shake(stream, soon(), outcome_));
  EXPECT_EQ(raw.shake(), 1);
  run(tasks_);
  EXPECT_TRUE(outcome_.has_value());
}

}  // namespace
}  // namespace merlon::tls
