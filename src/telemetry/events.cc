#include "telemetry/events.h"

#include <poll.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/print_error.h"
#include "telemetry/json_text.h"

namespace merlon::telemetry {
namespace {

// A pipe takes up to PIPE_BUF (4096) bytes whole or not at all, so lines never mix or break there.
constexpr std::size_t kLineBytesMax = 4096;
constexpr std::size_t kTextBytesMax = 512;
constexpr seconds kReportPeriod{60};

spdlog::level::level_enum to_spdlog(Level level) noexcept {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

/// Writes lines, as they come, to a descriptor that the broker opened. Never waits.
class DescriptorSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit DescriptorSink(io::Fd fd) { use(std::move(fd)); }

  void replace(io::Fd fd) {
    const std::lock_guard lock(mutex_);
    rest_.clear();
    use(std::move(fd));
  }
  [[nodiscard]] std::uint64_t dropped() const noexcept {
    return dropped_.load(std::memory_order_relaxed);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    // The end of a line that was written in part comes first, so that no two lines mix.
    const bool ready = write_all(rest_);
    std::string line(message.payload.data(), message.payload.size());
    const std::size_t bytes = line.size();
    if (ready && write_all(line)) return;
    if (line.size() < bytes) {
      rest_ = std::move(line);
    } else {
      dropped_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  void flush_() override {}

 private:
  void use(io::Fd fd) {
    fd_ = std::move(fd);
    struct stat s{};
    regular_ = ::fstat(fd_.get(), &s) == 0 && S_ISREG(s.st_mode);
  }

  /// Writes `text` and removes from it what was written. False when something is left.
  bool write_all(std::string& text) {
    while (!text.empty()) {
      pollfd room{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
      if (!regular_ && ::poll(&room, 1, 0) != 1) return false;
      const ssize_t n = ::write(fd_.get(), text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      text.erase(0, static_cast<std::size_t>(n));
    }
    return true;
  }

  io::Fd fd_;
  bool regular_ = false;
  std::string rest_;
  std::atomic<std::uint64_t> dropped_{0};
};

io::OsResult<io::Fd> open_target(io::Broker& broker, const std::string& target) {
  if (target != "-") return broker.open_append(target);
  io::Fd copy(::dup(STDERR_FILENO));
  if (!copy) return std::unexpected(io::OsError{errno});
  return copy;
}

void put(JsonLine& line, const EventField& field) noexcept {
  const std::string_view key = field.name.text();
  switch (field.kind) {
    case EventField::Kind::kUnsigned:
      return line.number(key, field.number);
    case EventField::Kind::kSigned:
      return line.signed_number(key, static_cast<std::int64_t>(field.number));
    case EventField::Kind::kText:
      return line.text(key, field.text, kTextBytesMax);
    case EventField::Kind::kBoolean:
      return line.boolean(key, field.number != 0);
  }
}

}  // namespace

class EventLog::Impl {
 public:
  Impl(io::Broker& broker, const Clock& clock, EventLogOptions options, io::Fd fd)
      : broker_(broker),
        clock_(clock),
        options_(std::move(options)),
        sink_(std::make_shared<DescriptorSink>(std::move(fd))),
        logger_("merlon", sink_),
        reported_at_(clock.now()) {
    set_level(options_.level);
    // What spdlog itself fails at must not go to standard error past us.
    logger_.set_error_handler([](const std::string&) {});
  }

  void set_level(Level level) noexcept { logger_.set_level(to_spdlog(level)); }
  [[nodiscard]] bool enabled(Level level) const noexcept {
    return logger_.should_log(to_spdlog(level));
  }

  void emit(Level level, Name event, std::initializer_list<EventField> fields) {
    const std::lock_guard lock(mutex_);
    const Instant now = clock_.now();
    if (now - reported_at_ >= kReportPeriod) report_suppressed(now);
    Bucket& bucket = buckets_[event.text()];
    if (!admit(bucket, now)) {
      ++bucket.suppressed;
      suppressed_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    write(level, event.text(), std::exchange(bucket.suppressed, 0), fields);
  }

  /// Says what was suppressed of events that did not come again.
  void report_suppressed(Instant now) {
    reported_at_ = now;
    for (auto& [event, bucket] : buckets_) {
      if (bucket.suppressed == 0) continue;
      write(Level::kWarning, "events_suppressed", 0,
            {str("name", event), num("count", std::exchange(bucket.suppressed, 0))});
    }
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    report_suppressed(clock_.now());
  }

  io::OsResult<void> reopen() {
    if (options_.target == "-") return {};
    io::OsResult<io::Fd> fd = open_target(broker_, options_.target);
    if (!fd) return std::unexpected(fd.error());
    sink_->replace(*std::move(fd));
    return {};
  }

  [[nodiscard]] std::uint64_t dropped() const noexcept { return sink_->dropped(); }
  [[nodiscard]] std::uint64_t suppressed() const noexcept {
    return suppressed_.load(std::memory_order_relaxed);
  }

 private:
  struct Bucket {
    Instant due{};  ///< when the bucket is full again, as in the generic cell rate algorithm
    std::uint64_t suppressed = 0;
  };

  [[nodiscard]] bool admit(Bucket& bucket, Instant now) const noexcept {
    const nanoseconds step = nanoseconds{seconds{1}} / std::max(options_.budget.per_second, 1U);
    const nanoseconds slack = step * (std::max(options_.budget.burst, 1U) - 1);
    const Instant due = std::max(bucket.due, now);
    if (due - now > slack) return false;
    bucket.due = due + step;
    return true;
  }

  void write(Level level, std::string_view event, std::uint64_t suppressed,
             std::initializer_list<EventField> fields) {
    JsonLine line(line_, sizeof line_);
    line.time("time", clock_.wall_now(), timestamp_);
    line.text("level", level_name(level), kTextBytesMax);
    line.text("event", event, kTextBytesMax);
    if (suppressed != 0) line.number("suppressed", suppressed);
    for (const EventField& field : fields) put(line, field);
    const std::string_view whole = line.finish();
    logger_.log(to_spdlog(level), spdlog::string_view_t(whole.data(), whole.size()));
  }

  io::Broker& broker_;
  const Clock& clock_;
  const EventLogOptions options_;
  const std::shared_ptr<DescriptorSink> sink_;
  spdlog::logger logger_;
  std::atomic<std::uint64_t> suppressed_{0};

  std::mutex mutex_;  ///< of everything below
  std::map<std::string_view, Bucket> buckets_;
  Instant reported_at_;
  JsonLine::Timestamp timestamp_;
  char line_[kLineBytesMax];
};

std::string_view level_name(Level level) noexcept {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "error";
}

io::OsResult<std::unique_ptr<EventLog>> EventLog::open(io::Broker& broker, const Clock& clock,
                                                       EventLogOptions options) {
  io::OsResult<io::Fd> fd = open_target(broker, options.target);
  if (!fd) return std::unexpected(fd.error());
  return std::unique_ptr<EventLog>(
      new EventLog(std::make_unique<Impl>(broker, clock, std::move(options), *std::move(fd))));
}

EventLog::EventLog(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
EventLog::~EventLog() { impl_->finish(); }

void EventLog::emit(Level level, Name event, std::initializer_list<EventField> fields) noexcept {
  if (impl_->enabled(level)) impl_->emit(level, event, fields);
}

void EventLog::set_level(Level level) noexcept { impl_->set_level(level); }

void EventLog::reopen() noexcept {
  const io::OsResult<void> done = impl_->reopen();
  if (done) return;
  error("process_log_reopen_failed", {str("reason", done.error().text())});
  // What it is written to may be a file that nobody finds any more.
  print_error("merlon: the process log cannot be opened again: {}\n", done.error().text());
}

std::uint64_t EventLog::dropped() const noexcept { return impl_->dropped(); }
std::uint64_t EventLog::suppressed() const noexcept { return impl_->suppressed(); }

}  // namespace merlon::telemetry
