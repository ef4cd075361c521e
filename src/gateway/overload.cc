#include "gateway/overload.h"

#include <algorithm>
#include <array>
#include <utility>

namespace merlon::gateway {
namespace {

constexpr double kShedConnectionsAt = 0.90;
constexpr double kShedRequestsAt = 0.97;
constexpr double kBackOff = 0.10;  // how far below the pressure must fall to shed less
constexpr int kCalmSamples = 4;    // in a row

Shed level_at(double pressure) noexcept {
  if (pressure >= kShedRequestsAt) return Shed::kRequests;
  return pressure >= kShedConnectionsAt ? Shed::kConnections : Shed::kNothing;
}

}  // namespace

Shed OverloadGuard::judge(const Pressure& pressure) noexcept {
  const std::array<std::pair<double, std::string_view>, 3> causes{
      {{pressure.memory, "memory"},
       {pressure.descriptors, "file descriptors"},
       {lasting_lag(pressure.lag), "event loop lag"}}};
  const auto most = *std::ranges::max_element(causes, {}, [](const auto& c) { return c.first; });
  const Shed wanted = level_at(most.first);
  if (wanted > shed_) {
    shed_ = wanted;
    cause_ = most.second;
  }
  if (level_at(most.first + kBackOff) >= shed_) {
    calm_samples_ = 0;
  } else if (++calm_samples_ >= kCalmSamples) {
    shed_ = wanted;
    calm_samples_ = 0;
  }
  return shed_;
}

double OverloadGuard::lasting_lag(double lag) noexcept {
  if (lag < kShedConnectionsAt) {
    samples_since_lag_ = std::min(samples_since_lag_ + 1, kLagForgotten);
    return lag;
  }
  const bool again = samples_since_lag_ < kLagForgotten;
  samples_since_lag_ = 0;
  return again ? lag : 0;
}

HeadroomWatch::Says HeadroomWatch::judge(double free_share, Instant now) noexcept {
  if (free_share >= kLow) {
    below_ = false;
    if (!said_ || free_share < kEnough) return Says::kNothing;
    said_ = false;
    return Says::kFineAgain;
  }
  if (!below_) low_since_ = now;
  below_ = true;
  if (said_ || now - low_since_ < kLowFor) return Says::kNothing;
  said_ = true;
  return Says::kLow;
}

}  // namespace merlon::gateway
