#include "gateway/monitor.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace merlon::gateway {
namespace {

using telemetry::num;
using telemetry::str;

constexpr std::size_t kCoresMax = 1024;
// A line for each of them is enough to act on; the rest is one line with their number.
constexpr std::size_t kSummaryLinesMax = 16;
// From where on memory that the allocator keeps is given back, before anything is shed for it.
constexpr double kTrimAt = 0.80;
constexpr seconds kTrimInterval{5};

std::string_view shed_name(Shed shed) noexcept {
  switch (shed) {
    case Shed::kNothing:
      return "nothing";
    case Shed::kConnections:
      return "connections";
    case Shed::kRequests:
      return "requests";
  }
  return "nothing";
}

double share(std::uint64_t used, std::uint64_t bound) noexcept {
  return bound == 0 ? 0.0 : static_cast<double>(used) / static_cast<double>(bound);
}

}  // namespace

ThrottleReader::ThrottleReader(io::Broker& broker, std::string root) : broker_(broker) {
  for (std::size_t core = 0; core < kCoresMax; ++core) {
    for (const std::string_view what : {"core", "package"}) {
      std::string file =
          fmt::format("{}/cpu{}/thermal_throttle/{}_throttle_count", root, core, what);
      if (broker.status(file)) files_.push_back(std::move(file));
    }
  }
}

std::uint64_t ThrottleReader::total() const {
  std::uint64_t sum = 0;
  for (const std::string& file : files_) {
    const io::OsResult<std::string> text = broker_.read_file(file, 64);
    std::uint64_t count = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), count);
    sum += count;
  }
  return sum;
}

Monitor::Monitor(Shared& shared, std::vector<Worker*> workers, Instant now)
    : shared_(shared),
      workers_(std::move(workers)),
      throttle_(shared.broker, "/sys/devices/system/cpu"),
      busy_(workers_.size(), nanoseconds{0}),
      sampled_at_(now),
      window_end_(now + kWindow),
      resident_at_start_(process_.resident_bytes().value_or(0)),
      throttled_at_start_(throttle_.total()) {}

void Monitor::tick(Instant now, const Limits& limits) {
  if (now - sampled_at_ >= kInterval) {
    judge_headroom(now);
    judge_overload(limits);
  }
  if (now < window_end_) return;
  window_end_ = now + kWindow;
  judge_throttling();
  flush();
}

/// Resident memory beyond that of the start, of the bound. What was freed and is only kept by the
/// allocator is no reason to shed, for ever after one burst: it is given back first, now and then,
/// since that holds up whoever allocates meanwhile.
double Monitor::memory_pressure(std::uint64_t bound) {
  const auto beyond_start = [this] {
    const std::uint64_t resident = process_.resident_bytes().value_or(0);
    return resident - std::min(resident, resident_at_start_);
  };
  const double pressure = share(beyond_start(), bound);
  if (pressure < kTrimAt || sampled_at_ < trim_again_) return pressure;
  trim_again_ = sampled_at_ + kTrimInterval;
  static_cast<void>(::malloc_trim(0));
  return share(beyond_start(), bound);
}

void Monitor::judge_overload(const Limits& limits) {
  nanoseconds longest{0};
  for (Worker* const worker : workers_) longest = std::max(longest, worker->take_longest_turn());
  const Pressure pressure{
      .memory = memory_pressure(limits.memory_bytes),
      .descriptors = share(process_.open_fds().value_or(0), telemetry::ProcessStats::fds_max()),
      .lag =
          static_cast<double>(longest.count()) / static_cast<double>(nanoseconds(kLagMax).count())};
  const Shed before = shared_.shed.load(std::memory_order_relaxed);
  const Shed shed = guard_.judge(pressure);
  if (shed == before) return;
  shared_.shed.store(shed, std::memory_order_relaxed);
  if (shed == Shed::kNothing) {
    shared_.events.info("overload_over");
  } else {
    shared_.events.error("overload", {str("sheds", shed_name(shed)), str("cause", guard_.cause())});
  }
}

void Monitor::judge_headroom(Instant now) {
  const auto elapsed = static_cast<double>((now - sampled_at_).count());
  sampled_at_ = now;
  double busy = 0;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const nanoseconds total = std::max(workers_[i]->busy(), busy_[i]);
    busy += std::min(1.0, static_cast<double>((total - busy_[i]).count()) / elapsed);
    busy_[i] = total;
  }
  const double free_share =
      1.0 - busy / static_cast<double>(std::max<std::size_t>(workers_.size(), 1));
  headroom_.store(free_share, std::memory_order_relaxed);
  const auto percent = static_cast<std::uint64_t>(std::max(free_share, 0.0) * 100);
  switch (headroom_watch_.judge(free_share, now)) {
    case HeadroomWatch::Says::kNothing:
      break;
    case HeadroomWatch::Says::kLow:
      shared_.events.warning("headroom_low",
                             {num("free_percent", percent), num("for_s", std::uint64_t{30})});
      break;
    case HeadroomWatch::Says::kFineAgain:
      shared_.events.info("headroom_fine", {num("free_percent", percent)});
      break;
  }
}

void Monitor::judge_throttling() {
  if (!throttle_.available()) return;
  const std::uint64_t total = throttle_.total();
  const std::uint64_t since = total - std::min(total, throttled_at_start_);
  const std::uint64_t before = throttled_.exchange(since, std::memory_order_relaxed);
  if (since > before) shared_.events.warning("cpu_throttled", {num("times", since - before)});
}

void Monitor::collect() {
  std::vector<state::LimitedClients*> sources;
  sources.reserve(workers_.size());
  for (Worker* const worker : workers_) sources.push_back(&worker->limited());
  current_ = state::merge({std::move(current_), state::take_all(sources)});
}

state::LimitedWindow Monitor::limited() {
  collect();
  return state::merge({last_, current_});
}

void Monitor::flush() {
  collect();
  last_ = std::exchange(current_, {});
  const state::LimitedWindow& window = last_;
  const auto window_s = static_cast<std::uint64_t>(kWindow.count());
  std::uint64_t rest = window.others;
  for (std::size_t i = 0; i < window.clients.size(); ++i) {
    const state::LimitedClient& one = window.clients[i];
    if (i >= kSummaryLinesMax) {
      rest += one.refused;
      continue;
    }
    shared_.events.warning(
        "limited", {str("message", "limiting requests"), str("client", one.client.to_string()),
                    str("route", one.route), str("rule", one.rule), str("class", one.limit_class),
                    num("refused", one.refused), num("window_s", window_s)});
  }
  if (rest == 0) return;
  shared_.events.warning("limited_others", {str("message", "limiting requests"),
                                            num("refused", rest), num("window_s", window_s)});
}

telemetry::LoadGauges Monitor::gauges() const noexcept {
  return {.headroom = headroom_.load(std::memory_order_relaxed),
          .shed = static_cast<unsigned>(shared_.shed.load(std::memory_order_relaxed)),
          .cpu_throttles = throttled_.load(std::memory_order_relaxed),
          .limits_coarse = shared_.tables.limits.coarse_total(),
          .shared_outages = shared_.tables.node.outages(),
          .shared_recoveries = shared_.tables.node.recoveries(),
          .shared_down = shared_.tables.node.servers_down()};
}

}  // namespace merlon::gateway
