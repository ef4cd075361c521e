#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace merlon::http {

/// How much useless work one HTTP/2 connection may cause. Useful work (streams carried to their
/// end, data moved) earns what is spent on resets and control frames, so that busy honest peers
/// never run out and a flood does after a bounded number of frames. docs/http2.md gives the
/// reasons.
class H2Budget {
 public:
  /// Streams that a peer may abandon or spoil before any work on them was done (CVE-2023-44487,
  /// CVE-2025-8671). As many as may be open at once: a page that is left cancels that many.
  static constexpr std::int32_t kResets = 100;
  /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown frames (CVE-2019-9511 to 9518).
  static constexpr std::int32_t kControls = 1'000;
  static constexpr std::int32_t kResetsPerStream = 1;
  /// A stream that was cut off since its client did not take the response (CVE-2019-9517) kept its
  /// request for ten seconds and more: 25 of them, a quarter of what may be open, are no accident.
  static constexpr std::int32_t kResetsPerStall = 4;
  static constexpr std::int32_t kControlsPerStream = 10;
  static constexpr std::int32_t kControlsPerDataSent = 4;
  /// Go's client and server open the stream's window and the connection's each time they have read
  /// 4 KiB: at once, where a reader comes late to what both windows let in.
  static constexpr std::size_t kStepBytes = 4 * 1024;
  static constexpr std::int32_t kUpdatesPerStep = 2;
  /// Others, as Dart's, open both for each frame, however small.
  static constexpr std::int32_t kUpdatesPerDataSent = 2;
  static constexpr std::int32_t kUpdates = 1 << 20;
  static constexpr std::int32_t kControlsPerDataReceived = 2;
  static constexpr std::int32_t kControlsPerSecond = 10;
  /// Connections of HTTP/1.1 upstreams, which cannot be told that a request was given up: half as
  /// many again as the 1,000 calls a second that a busy gRPC client may cancel, and two seconds of
  /// those at once.
  static constexpr std::int32_t kUpstreams = 2'000;
  static constexpr std::int32_t kUpstreamsPerSecond = 1'500;
  /// A stream that was served this long was work and not a flood: at most 100 of them exist at
  /// once, so resetting them asks for no more than waiting for their answers would.
  static constexpr milliseconds kServedFor{10};

  /// Each spends one; false when there is none left: the connection ends with ENHANCE_YOUR_CALM.
  [[nodiscard]] bool spend_reset() noexcept { return --resets_ >= 0; }
  [[nodiscard]] bool spend_control() noexcept { return --controls_ >= 0; }
  [[nodiscard]] bool spend_update() noexcept {
    if (updates_ == 0) return spend_control();
    --updates_;
    return true;
  }
  [[nodiscard]] bool spend_upstream() noexcept { return --upstreams_ >= 0; }
  [[nodiscard]] bool spend_stall() noexcept { return (resets_ -= kResetsPerStall) >= 0; }

  void stream_completed() noexcept {
    earn(resets_, kResetsPerStream, kResets);
    earn(controls_, kControlsPerStream, kControls);
  }
  /// A stream that the peer gave up after it was served for a while.
  void stream_served() noexcept { earn(controls_, kControlsPerStream, kControls); }
  /// `useful`: not a crumb that the peer's own window cut.
  void data_sent(std::size_t bytes, bool useful) noexcept {
    if (useful) earn(controls_, kControlsPerDataSent, kControls);
    step_bytes_ += bytes;
    const auto steps = static_cast<std::int32_t>(step_bytes_ / kStepBytes);
    step_bytes_ %= kStepBytes;
    earn(updates_, std::max(steps * kUpdatesPerStep, useful ? kUpdatesPerDataSent : 0), kUpdates);
  }
  void data_received() noexcept { earn(controls_, kControlsPerDataReceived, kControls); }
  /// Time earns a little: keep-alive pings of a connection that lives for days.
  void passed(Instant now) noexcept {
    if (now - since_ < seconds{1}) return;
    const auto whole = std::chrono::floor<seconds>(now - since_);
    const auto passed = static_cast<std::int32_t>(std::min<std::int64_t>(whole.count(), kControls));
    earn(controls_, passed * kControlsPerSecond, kControls);
    earn(upstreams_, passed * kUpstreamsPerSecond, kUpstreams);
    since_ += whole;
  }

 private:
  static void earn(std::int32_t& left, std::int32_t by, std::int32_t most) noexcept {
    left = std::min(left + by, most);
  }
  std::int32_t resets_ = kResets;
  std::int32_t controls_ = kControls;
  std::int32_t updates_ = 0;  ///< of windows, that data has earned
  std::int32_t upstreams_ = kUpstreams;
  std::size_t step_bytes_ = 0;  ///< sent, of a step that is not whole
  Instant since_{};
};

}  // namespace merlon::http
