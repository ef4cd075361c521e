#include "telemetry/access_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>

#include "telemetry/events.h"
#include "telemetry/log_sink.h"
#include "telemetry/testing.h"

namespace merlon::telemetry {
namespace {

using test::json_lines;
using test::read_all;

/// A broker whose files fail or turn into others when a test wants it.
class TestBroker final : public io::Broker {
 public:
  std::string redirect;  ///< opened in place of what is asked for
  int fail_with = 0;

  io::OsResult<io::Fd> open_append(const std::string& path) override {
    if (fail_with != 0) return std::unexpected(io::OsError{fail_with});
    return real_->open_append(redirect.empty() ? path : redirect);
  }
  io::OsResult<io::Fd> listen_tcp(const Endpoint&, const io::ListenOptions&) override {
    return none();
  }
  io::OsResult<io::Fd> connect_tcp(const Endpoint&) override { return none(); }
  io::OsResult<io::Fd> listen_unix(const std::string&) override { return none(); }
  io::OsResult<io::Fd> connect_unix(const std::string&) override { return none(); }
  io::OsResult<io::Fd> connect_unix_datagram(const std::string&) override { return none(); }
  io::OsResult<std::string> read_file(const std::string&, std::size_t) override {
    return std::unexpected(io::OsError{EPERM});
  }
  io::OsResult<io::FileStatus> status(const std::string&) override {
    return std::unexpected(io::OsError{EPERM});
  }

 private:
  static io::OsResult<io::Fd> none() { return std::unexpected(io::OsError{EPERM}); }
  std::unique_ptr<io::Broker> real_ = io::make_local_broker();
};

class AccessLog : public testing::Test {
 protected:
  void SetUp() override {
    auto log = EventLog::open(broker_, clock_, {.target = folder_.file("process.log")});
    ASSERT_TRUE(log.has_value());
    events_ = *std::move(log);
  }
  std::unique_ptr<LogSink> open_sink(std::size_t ring_bytes = 64 * 1024, std::size_t writers = 1) {
    auto sink = LogSink::open(broker_, *events_,
                              {.target = path_,
                               .writers = writers,
                               .ring_bytes = ring_bytes,
                               .poll = milliseconds{1},
                               .retry = milliseconds{1},
                               .flush_max = milliseconds{200}});
    EXPECT_TRUE(sink.has_value());
    return sink ? *std::move(sink) : nullptr;
  }
  /// One line of the log for `record`.
  template <class Record>
  nlohmann::json logged(const Record& record) {
    open_sink()->writer(0).write(record);
    const auto lines = json_lines(read_all(path_));
    EXPECT_EQ(lines.size(), 1U);
    return lines.empty() ? nlohmann::json() : lines.back();
  }
  std::string process_log() { return read_all(folder_.file("process.log")); }
  bool process_log_says(std::string_view event) {
    return eventually([&] { return process_log().contains(event); });
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 5000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds{1});
    }
    return false;
  }

  test::TempFolder folder_;
  std::string path_ = folder_.file("access.log");
  TestBroker broker_;
  SystemClock clock_;
  std::unique_ptr<EventLog> events_;
};

AccessRecord full_record() {
  return {.time = WallTime{nanoseconds{1'709'251'199'123'456'789}},
          .request_id = "0123456789abcdef0123456789abcdef",
          .trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
          .client = "198.51.100.7",
          .peer = "10.0.0.1:5000",
          .listener = "public",
          .route = "orders",
          .method = "GET",
          .host = "api.example.com",
          .path = "/api/v1/orders/17",
          .protocol = "HTTP/1.1",
          .request_body_bytes = 12,
          .response_body_bytes = 345,
          .total = microseconds{1500},
          .tls_version = "TLSv1.3",
          .tls_cipher = "TLS_AES_256_GCM_SHA384",
          .tls_server_name = "api.example.com",
          .tls_resumed = true,
          .outcome = {.status = 429,
                      .upstream_attempts = 2,
                      .upstream_connect = microseconds{200},
                      .upstream_first_byte = microseconds{900},
                      .upstream = "orders",
                      .endpoint = "10.0.0.11:8443",
                      .refusal = RefusalRecord{
                          .step = "rate_limit", .rule = "rate-limited", .line = "m.yaml:12"}}};
}

TEST_F(AccessLog, HoldsEveryMember) {
  EXPECT_EQ(logged(full_record()), nlohmann::json::parse(R"({
    "time": "2024-02-29T23:59:59.123456Z", "kind": "request",
    "request_id": "0123456789abcdef0123456789abcdef",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "client": "198.51.100.7", "peer": "10.0.0.1:5000", "listener": "public", "route": "orders",
    "method": "GET", "host": "api.example.com", "path": "/api/v1/orders/17",
    "protocol": "HTTP/1.1", "status": 429, "request_body_bytes": 12, "response_body_bytes": 345,
    "total_us": 1500,
    "upstream": {"name": "orders", "endpoint": "10.0.0.11:8443", "attempts": 2,
                 "connect_us": 200, "first_byte_us": 900},
    "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384",
            "server_name": "api.example.com", "resumed": true},
    "refusal": {"step": "rate_limit", "rule": "rate-limited", "line": "m.yaml:12"}})"));
}

TEST_F(AccessLog, LeavesOutWhatDidNotHappen) {
  const nlohmann::json line = logged(AccessRecord{.method = "GET", .outcome = {.status = 400}});
  for (const char* key : {"upstream", "tls", "refusal", "route", "trace_id"})
    EXPECT_FALSE(line.contains(key)) << key;
}

TEST_F(AccessLog, NeverHoldsAQuery) {  // tokens and personal data travel in queries
  AccessRecord record = full_record();
  record.path = "/reset?token=s3cret&mail=a@b.example";
  EXPECT_EQ(logged(record)["path"], "/reset");
  EXPECT_FALSE(read_all(path_).contains("s3cret"));
}

TEST_F(AccessLog, OneHostileRequestIsOneValidLine) {  // log injection, terminal escapes
  std::string hostile;
  for (int i = 0; i < 256; ++i) hostile += static_cast<char>(i == '?' ? '!' : i);
  hostile += "\",\"status\":200}\n{\"forged\":1}";
  AccessRecord record = full_record();
  record.path = record.host = record.method = record.tls_server_name = hostile;
  const nlohmann::json line = logged(record);
  EXPECT_EQ(line["status"], 429);
  EXPECT_FALSE(line.contains("forged"));
}

TEST_F(AccessLog, TheLongestLineIsWhole) {
  const std::string longest(10'000, '\x01');
  AccessRecord record = full_record();
  AccessOutcome& outcome = record.outcome;
  for (std::string_view* text :
       {&record.request_id, &record.trace_id, &record.client, &record.peer, &record.listener,
        &record.route, &record.method, &record.host, &record.path, &record.protocol,
        &outcome.upstream, &outcome.endpoint, &record.tls_version, &record.tls_cipher,
        &record.tls_server_name, &outcome.refusal->step, &outcome.refusal->rule,
        &outcome.refusal->line})
    *text = longest;
  record.total = outcome.upstream_connect = outcome.upstream_first_byte = microseconds::max();
  record.request_body_bytes = record.response_body_bytes = UINT64_MAX;
  const nlohmann::json line = logged(record);
  EXPECT_FALSE(line.contains("truncated"));
  EXPECT_EQ(line.size(), 19U);
  EXPECT_EQ(line["upstream"].size() + line["tls"].size() + line["refusal"].size(), 12U);
}

TEST_F(AccessLog, WritesTheLinesOfAllWorkers) {
  constexpr std::size_t kWorkers = 3;
  // All of them fit into a ring: how fast the log thread is must not matter here.
  constexpr std::uint64_t kLines = 500;
  {
    const auto sink = open_sink(1024 * 1024, kWorkers);
    std::vector<std::thread> workers;
    for (std::size_t w = 0; w < kWorkers; ++w) {
      workers.emplace_back([&sink, w] {
        AccessRecord record = full_record();
        const std::string route = std::to_string(w);
        record.route = route;
        for (record.response_body_bytes = 0; record.response_body_bytes < kLines;
             ++record.response_body_bytes)
          sink->writer(w).write(record);
      });
    }
    for (std::thread& worker : workers) worker.join();
    EXPECT_EQ(sink->dropped(), 0U);
  }
  std::array<std::uint64_t, kWorkers> next{};
  for (const auto& line : json_lines(read_all(path_))) {
    ASSERT_TRUE(line.is_object());
    auto& want = next.at(std::stoul(line["route"].get<std::string>()));
    ASSERT_EQ(line["response_body_bytes"], want++);
  }
  EXPECT_EQ(next, (std::array<std::uint64_t, kWorkers>{kLines, kLines, kLines}));
}

TEST_F(AccessLog, DropsAndSaysSoOnAFullDiskAndRecovers) {
  broker_.redirect = "/dev/full";
  auto sink = open_sink(4096);
  for (int i = 0; i < 100; ++i) sink->writer(0).write(full_record());
  EXPECT_GT(sink->dropped(), 80U);
  EXPECT_TRUE(process_log_says("access_log_write_failed"));
  EXPECT_TRUE(process_log_says("No space left"));
  broker_.redirect.clear();
  sink->reopen();
  EXPECT_TRUE(process_log_says("access_log_recovered"));
  const std::uint64_t dropped = sink->dropped();
  sink.reset();
  const auto lines = json_lines(read_all(path_));
  EXPECT_EQ(lines.size(), 100 - dropped) << "what the ring held is written later";
  EXPECT_EQ(std::ranges::count(lines, nlohmann::json()), 0);
  const auto events = json_lines(process_log());
  EXPECT_EQ(
      std::ranges::count(events, "access_log_write_failed",
                         [](const auto& e) { return e["event"].template get<std::string>(); }),
      1)
      << "once a minute, not once a try";
}

TEST_F(AccessLog, WhatTheDiskHasNoRoomForAtTheEndIsToldAndLeavesNoHalfLine) {
  open_sink()->writer(0).write(full_record());
  const std::uint64_t line = read_all(path_).size();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit little{.rlim_cur = 3 * line + line / 2, .rlim_max = before.rlim_max};
  auto sink = open_sink();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);
  for (int i = 0; i < 4; ++i) sink->writer(0).write(full_record());
  EXPECT_TRUE(process_log_says("access_log_write_failed"));
  sink.reset();
  EXPECT_TRUE(process_log().contains("\"event\":\"access_log_lines_dropped\""));
  EXPECT_TRUE(process_log().contains("\"dropped_lines\":2"));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  open_sink()->writer(0).write(full_record());
  const auto lines = json_lines(read_all(path_));
  EXPECT_EQ(lines.size(), 4U);
  EXPECT_EQ(std::ranges::count(lines, nlohmann::json()), 0);
}

TEST_F(AccessLog, GoesOnInTheNewFileAfterRotation) {
  auto sink = open_sink();
  sink->writer(0).write(full_record());
  ASSERT_TRUE(eventually([&] { return !read_all(path_).empty(); }));
  std::filesystem::rename(path_, path_ + ".1");
  sink->reopen();
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path_); }));
  sink->writer(0).write(full_record());
  sink.reset();
  EXPECT_EQ(json_lines(read_all(path_)).size(), 1U);
  EXPECT_EQ(json_lines(read_all(path_ + ".1")).size(), 1U);
}

TEST_F(AccessLog, KeepsTheOldFileWhenTheNewOneCannotBeOpened) {
  auto sink = open_sink();
  broker_.fail_with = EACCES;
  sink->reopen();
  EXPECT_TRUE(process_log_says("access_log_reopen_failed"));
  EXPECT_TRUE(process_log_says("Permission denied"));
  sink->writer(0).write(full_record());
  sink.reset();
  EXPECT_EQ(json_lines(read_all(path_)).size(), 1U);
}

TEST_F(AccessLog, AStuckReaderHoldsNeitherWorkersNorTheEnd) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const io::Fd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto sink = open_sink(128 * 1024);
  for (int i = 0; i < 2000; ++i) sink->writer(0).write(full_record());
  EXPECT_GT(sink->dropped(), 0U);
  EXPECT_TRUE(process_log_says("access_log_lines_dropped"));
  sink.reset();  // within flush_max, or this test ends by its time limit
}

TEST_F(AccessLog, CompletesALineThatThePipeTookInPart) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const io::Fd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto sink = open_sink(1024 * 1024);
  constexpr std::size_t kLines = 500;  // more than the pipe holds
  for (std::size_t i = 0; i < kLines; ++i) sink->writer(0).write(full_record());
  std::string got;
  EXPECT_TRUE(eventually([&] {
    char block[4096];
    ssize_t n = 0;
    while ((n = ::read(reader.get(), block, sizeof block)) > 0)
      got.append(block, static_cast<std::size_t>(n));
    return std::ranges::count(got, '\n') == static_cast<std::ptrdiff_t>(kLines);
  }));
  EXPECT_EQ(std::ranges::count(json_lines(got), nlohmann::json()), 0);
  EXPECT_EQ(sink->written_bytes(), got.size());
}

}  // namespace
}  // namespace merlon::telemetry
