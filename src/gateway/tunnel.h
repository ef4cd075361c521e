#pragma once

#include <array>
#include <string>

#include "gateway/worker.h"
#include "http/tunnel_end.h"
#include "http/websocket.h"
#include "io/task.h"

namespace merlon::gateway {

/// A WebSocket between a client and an upstream, once both have agreed to it: frames pass as they
/// are, with back-pressure both ways. It holds no buffer while nothing moves. Known to its worker,
/// which tells it of a drain and of new plans. Lives on the frame of the request that opened it.
class Tunnel {
 public:
  /// Who it belongs to. It asks for nothing and is told of a plan that changes nothing of it.
  class Owner {
   public:
    virtual ~Owner() = default;
    /// A new plan. True when it says the same of this tunnel, which it then belongs to.
    virtual bool carry_over(WorkerPlan& plan) = 0;
  };

  /// `extended`: an extension was agreed on. All references outlive it.
  Tunnel(Worker& worker, Owner& owner, http::TunnelEnd& client, http::TunnelEnd& upstream,
         milliseconds idle_timeout, bool extended);
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;
  ~Tunnel();

  /// Carries until one side has ended and the other has had a moment to say its last words. Returns
  /// why when that was no end of its own: kWebSocketIdle, kWebSocketFrame, kDraining, kCancelled,
  /// or what broke a side; else code 0.
  [[nodiscard]] io::Task<Error> run();
  /// Ends it without a word.
  void abort() noexcept;
  /// It has until then, unless it had less already. Then each side is told to go away.
  void end_by(Instant when) noexcept;
  [[nodiscard]] bool carry_over(WorkerPlan& plan) { return owner_.carry_over(plan); }

 private:
  friend class Worker;

  /// One direction.
  struct Flow {
    http::TunnelEnd& from;
    http::TunnelEnd& to;
    http::WebSocketFrames frames;
    Blame blame;               ///< whose bytes they are
    std::string waiting{};     ///< what the other side has not taken yet
    bool ended = false;        ///< nothing more comes, and the other side knows
    bool cut_between = false;  ///< what came was no frame, and what has passed ends with one
  };

  [[nodiscard]] io::Task<void> carry(Flow& flow);
  [[nodiscard]] io::Task<bool> forward(Flow& flow, std::string_view bytes);
  [[nodiscard]] io::Task<bool> drain_waiting(Flow& flow);
  [[nodiscard]] bool note_written(const Result<void>& written) noexcept;
  void note_last(Flow& flow, const io::Attempt& got) noexcept;
  void note_end(Flow& flow) noexcept;
  void judge_wait(const Flow& flow, const Error& error) noexcept;
  [[nodiscard]] Instant deadline() const noexcept;
  void stop(const Error& why) noexcept;
  void say_farewell(Flow& flow, bool to_server) noexcept;

  Worker& worker_;
  Owner& owner_;
  Tunnel* previous_ = nullptr;  ///< the worker's list
  Tunnel* next_ = nullptr;
  Flow up_;
  Flow down_;
  const milliseconds idle_timeout_;
  Instant moved_;   ///< when bytes last passed
  Instant end_by_;  ///< of a drain, a reload or last words
  Error why_{};
  bool over_ = false;
  bool aborted_ = false;
  bool ending_ = false;  ///< one side has ended
};

}  // namespace merlon::gateway
