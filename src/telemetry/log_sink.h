#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/time.h"
#include "io/broker.h"
#include "telemetry/access_log.h"

namespace merlon::telemetry {

class EventLog;

struct LogSinkOptions {
  std::string target = "-";              ///< a file, or "-" for standard output
  std::size_t writers = 1;               ///< one for each worker
  std::size_t ring_bytes = 1024 * 1024;  ///< for each writer
  milliseconds poll{50};                 ///< a line is in the file at most this much later
  milliseconds retry{500};               ///< pause after a failed write
  milliseconds report{60'000};           ///< at most one event in this time about lost lines
  milliseconds flush_max{2'000};         ///< how long the end may wait for a stuck reader
};

/// The access log's file and the one thread that writes to it.
///
/// Lines stay in the rings while the file cannot be written (disk full) and are written when it can
/// be again; what does not fit is dropped and counted, and the process log says so, once a minute
/// at most. A line that was written in part is completed before anything else, so that the file
/// only ever holds whole lines, unless the file is reopened in between.
class LogSink {
 public:
  /// Opens the target and starts the thread. `broker` and `events` must outlive the sink.
  [[nodiscard]] static io::OsResult<std::unique_ptr<LogSink>> open(io::Broker& broker,
                                                                   EventLog& events,
                                                                   LogSinkOptions options);
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;
  /// Writes what is left, for `flush_max` at most, and ends the thread. Writers must be quiet.
  ~LogSink();

  /// The writer of worker `index`. Lives as long as the sink.
  [[nodiscard]] AccessLogWriter& writer(std::size_t index) noexcept { return *writers_[index]; }

  /// Opens the file anew, for log rotation (SIGUSR1). Done by the log thread within moments; when
  /// the new file cannot be opened, the old one stays in use and the process log says so. Any
  /// thread, signal handlers too. Does nothing to "-".
  void reopen() noexcept;

  /// Lines lost since the start. Any thread.
  [[nodiscard]] std::uint64_t dropped() const noexcept;
  /// Bytes written since the start. Any thread.
  [[nodiscard]] std::uint64_t written_bytes() const noexcept {
    return written_bytes_.load(std::memory_order_relaxed);
  }

 private:
  LogSink(io::Broker& broker, EventLog& events, LogSinkOptions options, io::Fd wakeup, io::Fd file);

  void run() noexcept;
  void wait(milliseconds timeout) noexcept;
  void wake() noexcept;
  void use(io::Fd file) noexcept;
  void do_reopen() noexcept;
  [[nodiscard]] bool drain_all() noexcept;
  [[nodiscard]] bool drain(std::size_t index) noexcept;
  [[nodiscard]] long write_some(std::string_view bytes) noexcept;
  void note_failure(int number) noexcept;
  void note_recovery() noexcept;
  void report_drops() noexcept;
  void give_up_rest() noexcept;

  io::Broker& broker_;
  EventLog& events_;
  const LogSinkOptions options_;
  const io::Fd wakeup_;
  std::vector<std::unique_ptr<AccessLogWriter>> writers_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> reopen_{false};
  std::atomic<std::uint64_t> written_bytes_{0};
  std::atomic<std::uint64_t> torn_{0};  ///< lines cut off by a reopen, or left at the end

  // Of the log thread alone.
  io::Fd file_;
  std::size_t write_bytes_max_ = 0;
  std::size_t current_ = 0;  ///< the writer whose line is half written, if `mid_line_`
  bool mid_line_ = false;
  std::size_t line_written_bytes_ = 0;  ///< of that line, in the file
  bool failing_ = false;
  std::uint64_t dropped_reported_ = 0;
  Instant reported_at_{};
  bool ever_reported_ = false;
  Instant flush_until_{Instant::max()};

  std::thread thread_;
};

}  // namespace merlon::telemetry
