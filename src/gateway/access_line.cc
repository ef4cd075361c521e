#include "gateway/access_line.h"

#include <fmt/format.h>

#include "tls/tls_stream.h"

namespace merlon::gateway {
namespace {

// Enough to recognise a probe; the rest would be the peer's to fill the log with.
constexpr std::size_t kRawMethodBytes = 32;
constexpr std::size_t kRawPathBytes = 256;

}  // namespace

ConnectionText::ConnectionText(const policy::ConnectionFacts& facts, const IpAddress& client,
                               telemetry::AccessRecord& record) noexcept
    : client_(client) {
  const http::IpText peer(facts.peer.address);
  const bool v6 = facts.peer.address.is_v6();
  const auto end = fmt::format_to_n(peer_.data(), peer_.size(), "{}{}{}:{}", v6 ? "[" : "",
                                    peer.view(), v6 ? "]" : "", facts.peer.port);
  record.client = client_.view();
  record.peer = {peer_.data(), end.size};
  if (facts.tls == nullptr) return;
  record.tls_version = facts.tls->version();
  record.tls_cipher = facts.tls->cipher();
  record.tls_server_name = facts.tls->server_name();
  record.tls_resumed = facts.tls->resumed();
}

void note_raw_target(const http::RequestHead& head, telemetry::AccessRecord& record) noexcept {
  record.method = head.method_text.substr(0, kRawMethodBytes);
  record.path = head.target.path.substr(0, kRawPathBytes);
}

}  // namespace merlon::gateway
