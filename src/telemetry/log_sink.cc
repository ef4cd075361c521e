#include "telemetry/log_sink.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "telemetry/events.h"

namespace merlon::telemetry {
namespace {

constexpr std::size_t kFileWriteMax = 1024 * 1024;

bool is_regular(int fd) noexcept {
  struct stat s{};
  return ::fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
}

io::OsResult<io::Fd> open_target(io::Broker& broker, const std::string& target) {
  if (target != "-") return broker.open_append(target);
  io::Fd copy(::dup(STDOUT_FILENO));
  if (!copy) return std::unexpected(io::OsError{errno});
  return copy;
}

Instant now() noexcept { return std::chrono::steady_clock::now(); }

}  // namespace

io::OsResult<std::unique_ptr<LogSink>> LogSink::open(io::Broker& broker, EventLog& events,
                                                     LogSinkOptions options) {
  io::OsResult<io::Fd> file = open_target(broker, options.target);
  if (!file) return std::unexpected(file.error());
  io::Fd wakeup(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wakeup) return std::unexpected(io::OsError{errno});
  return std::unique_ptr<LogSink>(
      new LogSink(broker, events, std::move(options), std::move(wakeup), *std::move(file)));
}

LogSink::LogSink(io::Broker& broker, EventLog& events, LogSinkOptions options, io::Fd wakeup,
                 io::Fd file)
    : broker_(broker), events_(events), options_(std::move(options)), wakeup_(std::move(wakeup)) {
  for (std::size_t i = 0; i < std::max<std::size_t>(options_.writers, 1); ++i)
    writers_.push_back(std::make_unique<AccessLogWriter>(options_.ring_bytes, wakeup_.get()));
  use(std::move(file));
  // Signals are for the main thread; and a closed pipe must be an error here, not SIGPIPE. Blocked
  // before the thread starts, which inherits the mask, so that there is no moment without it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  const bool blocked = ::pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
  thread_ = std::thread([this] { run(); });
  if (blocked) static_cast<void>(::pthread_sigmask(SIG_SETMASK, &before, nullptr));
}

LogSink::~LogSink() {
  stop_.store(true, std::memory_order_release);
  wake();
  thread_.join();
}

void LogSink::reopen() noexcept {
  reopen_.store(true, std::memory_order_release);
  wake();
}

void LogSink::wake() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wakeup_.get(), &one, sizeof one));
}

std::uint64_t LogSink::dropped() const noexcept {
  std::uint64_t sum = torn_.load(std::memory_order_relaxed);
  for (const auto& writer : writers_) sum += writer->dropped();
  return sum;
}

void LogSink::use(io::Fd file) noexcept {
  file_ = std::move(file);
  // A write to a pipe of at most PIPE_BUF bytes never waits once poll(2) says that there is room,
  // so a stuck reader cannot hold this thread, and with it the end of the process.
  write_bytes_max_ = is_regular(file_.get()) ? kFileWriteMax : PIPE_BUF;
}

void LogSink::run() noexcept {
  while (!stop_.load(std::memory_order_acquire)) {
    if (reopen_.exchange(false, std::memory_order_acquire)) do_reopen();
    const bool ok = drain_all();
    report_drops();
    wait(ok ? options_.poll : options_.retry);
  }
  flush_until_ = now() + options_.flush_max;
  if (!drain_all()) give_up_rest();
  ever_reported_ = false;  // nothing more comes: what was lost is told now or never
  report_drops();
}

/// The file takes nothing more: what is left is lost, and counted. A line of which a part is in the
/// file is taken back, so that whoever appends to it next does not add to that.
void LogSink::give_up_rest() noexcept {
  if (mid_line_ && is_regular(file_.get())) {
    const off_t size = ::lseek(file_.get(), 0, SEEK_END);
    const auto begun = static_cast<off_t>(line_written_bytes_);
    if (size >= begun) static_cast<void>(!::ftruncate(file_.get(), size - begun));
  }
  for (const auto& writer : writers_) {
    LineRing& ring = writer->ring_;
    for (std::string_view rest = ring.readable(); !rest.empty(); rest = ring.readable()) {
      torn_.fetch_add(static_cast<std::uint64_t>(std::ranges::count(rest, '\n')),
                      std::memory_order_relaxed);
      ring.consume(rest.size());
    }
  }
}

void LogSink::wait(milliseconds timeout) noexcept {
  pollfd wakeup{.fd = wakeup_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&wakeup, 1, static_cast<int>(timeout.count())) <= 0) return;
  std::uint64_t count = 0;
  static_cast<void>(!::read(wakeup_.get(), &count, sizeof count));
}

void LogSink::do_reopen() noexcept {
  if (options_.target == "-") return;
  io::OsResult<io::Fd> file = open_target(broker_, options_.target);
  if (!file) {
    events_.error("access_log_reopen_failed",
                  {str("target", options_.target), str("reason", file.error().text())});
    return;
  }
  if (mid_line_) {
    // Its beginning is in the old file: the rest alone would be no line.
    writers_[current_]->ring_.consume_line();
    torn_.fetch_add(1, std::memory_order_relaxed);
    mid_line_ = false;
    line_written_bytes_ = 0;
  }
  use(*std::move(file));
  events_.info("access_log_reopened", {str("target", options_.target)});
}

/// Writes what is in the rings, beginning with the line that is half written. False when the file
/// did not take it: the rings then keep the rest and ask for no wakeup until it does.
bool LogSink::drain_all() noexcept {
  for (std::size_t i = 0; i < writers_.size(); ++i) {
    if (!drain(current_)) return false;
    current_ = (current_ + 1) % writers_.size();
  }
  return true;
}

bool LogSink::drain(std::size_t index) noexcept {
  LineRing& ring = writers_[index]->ring_;
  // One turn is at most one ring: a busy worker must not keep the others waiting for ever.
  std::size_t budget = ring.capacity();
  while (budget > 0 || mid_line_) {
    const std::string_view bytes = ring.readable().substr(0, write_bytes_max_);
    if (bytes.empty()) break;
    const long n = write_some(bytes);
    if (n < 0) return false;
    const auto taken = static_cast<std::size_t>(n);
    const std::size_t end = bytes.substr(0, taken).rfind('\n');
    const bool whole = end != std::string_view::npos;
    line_written_bytes_ = whole ? taken - end - 1 : line_written_bytes_ + taken;
    mid_line_ = line_written_bytes_ != 0;
    ring.consume(taken);
    budget -= std::min(budget, taken);
  }
  ring.allow_wakeup();
  return true;
}

/// Returns how many bytes were taken, at least 1, or -1.
long LogSink::write_some(std::string_view bytes) noexcept {
  for (;;) {
    pollfd room{.fd = file_.get(), .events = POLLOUT, .revents = 0};
    const bool stopping = flush_until_ != Instant::max();
    const auto left = std::chrono::ceil<milliseconds>(flush_until_ - now());
    const auto patience = stopping ? std::max(left, milliseconds{0}) : options_.poll;
    if (::poll(&room, 1, static_cast<int>(patience.count())) == 0) {
      note_failure(EAGAIN);
      return -1;
    }
    const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      note_failure(n < 0 ? errno : ENOSPC);
      return -1;
    }
    written_bytes_.fetch_add(static_cast<std::uint64_t>(n), std::memory_order_relaxed);
    note_recovery();
    return n;
  }
}

void LogSink::note_failure(int number) noexcept {
  // A reader that is slow for a moment loses nothing: lines that are lost are reported apart.
  if (number == EAGAIN) return;
  failing_ = true;
  if (ever_reported_ && now() - reported_at_ < options_.report) return;
  reported_at_ = now();
  ever_reported_ = true;
  dropped_reported_ = dropped();
  events_.error("access_log_write_failed",
                {str("target", options_.target), str("reason", io::OsError{number}.text()),
                 num("dropped_lines", dropped_reported_)});
}

void LogSink::note_recovery() noexcept {
  if (!std::exchange(failing_, false)) return;
  events_.info("access_log_recovered", {num("dropped_lines", dropped())});
}

void LogSink::report_drops() noexcept {
  const std::uint64_t dropped_now = dropped();
  if (dropped_now == dropped_reported_) return;
  if (ever_reported_ && now() - reported_at_ < options_.report) return;
  reported_at_ = now();
  ever_reported_ = true;
  dropped_reported_ = dropped_now;
  events_.error("access_log_lines_dropped", {num("dropped_lines", dropped_now)});
}

}  // namespace merlon::telemetry
