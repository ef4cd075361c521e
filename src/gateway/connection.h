#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gateway/worker.h"
#include "io/task.h"
#include "tls/tls_stream.h"

namespace merlon::gateway {

class Http2Requests;
class RequestWay;

/// A client's connection: the handshake, then request after request. It owns itself, from `begin`
/// to its end. Small, since most connections are idle: what a request needs is borrowed, and while
/// there is none, no coroutine waits for it.
class ClientConnection {
 public:
  /// Serves until the client goes, an error, or the worker drains.
  static void begin(Worker& worker, std::size_t door, io::Fd fd, const Endpoint& peer,
                    const IpAddress& counted);
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  /// HTTP/2: gives notice that no new streams are taken soon. HTTP/1.1 says it with an answer.
  void announce_end() noexcept;
  /// Ends the wait for a next request, and the connection with it; requests in progress are
  /// finished.
  void close_if_idle() noexcept;
  /// After a reload: notes when clients are asked for TLS, the PROXY protocol or other certificates
  /// now.
  void compare_with_plan() noexcept;
  [[nodiscard]] bool outdated() const noexcept { return facts_.outdated; }
  /// The requests in progress.
  void for_each_way(const std::function<void(RequestWay&)>& f) const;
  /// Ends whatever it waits for. An idle connection is gone afterwards.
  void abort() noexcept;

 private:
  friend class Worker;

  ClientConnection(Worker& worker, std::size_t door, io::Fd fd, const Endpoint& peer,
                   const IpAddress& counted);
  ~ClientConnection();

  [[nodiscard]] io::Task<void> open_and_run();
  [[nodiscard]] io::Task<void> run();
  void wait_for_request() noexcept;
  void watch_idle() noexcept;
  void on_idle_event() noexcept;
  void shed();
  [[nodiscard]] io::Task<bool> open();
  [[nodiscard]] io::Task<Result<void>> read_proxy_header(Instant deadline);
  [[nodiscard]] Result<void> count_named_client() noexcept;
  void tell_refused(const Error& error, const Listener& at);
  [[nodiscard]] io::Task<bool> serve_requests();
  enum class Next : std::uint8_t { kRequest, kEnd, kLinger };
  [[nodiscard]] io::Task<Next> serve_one(http::H1Server& server, Transaction& t);
  [[nodiscard]] bool close_quietly() noexcept;
  [[nodiscard]] io::Task<void> serve_http2(std::string begun);
  [[nodiscard]] io::Task<void> linger();
  [[nodiscard]] io::Task<void> end();
  void log_handshake_failure(const Error& error);
  void tell_tls_failure(const Error& error);

  Worker& worker_;
  std::unique_ptr<io::SocketStream> stream_;
  tls::TlsStream* tls_ = nullptr;         ///< the same stream, when it is TLS
  RequestWay* way_ = nullptr;             ///< of the request in progress, to abort it
  Http2Requests* http2_ = nullptr;        ///< while HTTP/2 is spoken
  std::string preface_;                   ///< what came of HTTP/2 with prior knowledge
  ClientConnection* previous_ = nullptr;  ///< the worker's list
  ClientConnection* next_ = nullptr;
  ConnectionFacts facts_;
  IpAddress counted_;  ///< key under which it is counted; 0.0.0.0: not counted
  Instant idle_until_{};
  std::uint32_t door_;       ///< Worker::doors_
  const bool proxied_;       ///< a header of the PROXY protocol came first
  const bool only_watches_;  ///< as Worker::only_watches
  const bool waited_for_;    ///< a drain waits for its end
  bool idle_ = false;        ///< no coroutine is at work
  bool aborted_ = false;
};

}  // namespace merlon::gateway
