#pragma once

#include <memory>
#include <string>

#include "gateway/worker.h"
#include "io/task.h"
#include "tls/tls_stream.h"

namespace merlon::gateway {

/// A client's connection: the handshake, then request after request. Owned by the worker's task
/// that serves it. Small, since most connections are idle: what a request needs is borrowed.
class ClientConnection {
 public:
  ClientConnection(Worker& worker, std::size_t door, io::Fd fd, const Endpoint& peer,
                   const IpAddress& counted);
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;
  ~ClientConnection();

  /// Serves until the client goes, an error, or the worker drains.
  io::Task<void> run();
  /// Ends the wait for a next request; a request in progress is finished.
  void close_if_idle() noexcept {
    if (idle_) stream_->cancel();
  }
  /// Ends whatever it waits for.
  void abort() noexcept {
    aborted_ = true;
    stream_->cancel();
    if (upstream_ != nullptr) upstream_->cancel();
  }

 private:
  friend class Worker;

  [[nodiscard]] io::Task<bool> open();
  [[nodiscard]] io::Task<Result<void>> read_proxy_header(Instant deadline);
  [[nodiscard]] io::Task<bool> serve_requests(Transaction& t);
  [[nodiscard]] io::Task<bool> serve_one(Transaction& t);
  [[nodiscard]] io::Task<void> answer_broken_head(Transaction& t, Error error);
  [[nodiscard]] io::Task<void> handle(Transaction& t);
  [[nodiscard]] io::Task<void> refuse(Transaction& t, Refusal refusal);
  [[nodiscard]] io::Task<void> respond(Transaction& t);
  [[nodiscard]] io::Task<void> redirect(Transaction& t, std::uint16_t port);
  [[nodiscard]] io::Task<void> send_own(Transaction& t);
  [[nodiscard]] io::Task<void> linger();
  [[nodiscard]] bool serves_status(Transaction& t, const Listener& at);
  [[nodiscard]] bool judge(Transaction& t, Refusal& refusal);
  void begin_record(Transaction& t);
  void finish_record(Transaction& t);
  void log_handshake_failure(const Error& error);

  // proxy.cc
  [[nodiscard]] io::Task<void> proxy(Transaction& t);
  [[nodiscard]] io::Task<Result<void>> exchange(Transaction& t, upstream::Cluster& cluster,
                                                upstream::Lease& lease, http::BodyPart first,
                                                Instant deadline);
  [[nodiscard]] io::Task<void> pump_request(Transaction& t, Error& outcome);
  [[nodiscard]] io::Task<void> relay_response(Transaction& t, upstream::Cluster& cluster,
                                              http::ResponseHead& head);
  [[nodiscard]] io::Task<Result<void>> relay_body(Transaction& t, const upstream::Cluster& cluster);
  void prepare_upstream_head(Transaction& t, http::RequestHead& out, struct OwnFields& own);

  Worker& worker_;
  std::unique_ptr<io::SocketStream> stream_;
  tls::TlsStream* tls_ = nullptr;         ///< the same stream, when it is TLS
  io::Stream* upstream_ = nullptr;        ///< of the exchange in progress, to abort it
  ClientConnection* previous_ = nullptr;  ///< the worker's list
  ClientConnection* next_ = nullptr;
  Endpoint peer_;       ///< of the socket
  IpAddress client_;    ///< the peer, or whom the PROXY protocol names
  IpAddress counted_;   ///< key under which it is counted; 0.0.0.0: not counted
  std::uint32_t door_;  ///< Worker::doors_
  bool idle_ = false;
  bool aborted_ = false;
  bool stop_pump_ = false;  ///< the response is done: the rest of the request's body is of no use
};

}  // namespace merlon::gateway
