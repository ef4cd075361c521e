#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/time.h"
#include "http/fields.h"
#include "http/h2_head.h"
#include "io/frame_pool.h"

namespace merlon::http {

class H2Session;

/// Of trailers: gRPC's default for metadata is 8 KiB.
inline constexpr HeadLimits kTrailerLimits{.head_bytes_max = 8 * 1024, .fields_max = 32};

/// One stream as its session sees it: what has arrived and was not read yet, and what waits to go
/// out. Whoever owns it (a server or a client exchange) keeps it until the session has forgotten
/// it. The callbacks come from inside calls of the session, and make none of their own.
class H2Stream : public io::Pooled {
 public:
  explicit H2Stream(Blame peer) noexcept : peer_(peer) {}
  H2Stream(const H2Stream&) = delete;
  H2Stream& operator=(const H2Stream&) = delete;
  virtual ~H2Stream() = default;

  [[nodiscard]] std::int32_t id() const noexcept { return id_; }
  /// The session has forgotten it: nothing more arrives or goes out.
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  /// The error code of RST_STREAM when it ended by one, else 0.
  [[nodiscard]] std::uint32_t reset_code() const noexcept { return reset_code_; }
  /// The peer has sent everything.
  [[nodiscard]] bool input_done() const noexcept { return input_done_; }
  /// Our END_STREAM went out.
  [[nodiscard]] bool output_done() const noexcept { return output_done_; }
  /// Why the peer's message cannot be used; code 0 when it can.
  [[nodiscard]] const Error& broken() const noexcept { return broken_; }

 protected:
  friend class H2Session;

  /// Where a head goes that begins now.
  [[nodiscard]] virtual H2HeadReader::Into head_room() = 0;
  /// `reader` has the whole block. On success `length` is what content-length says, if anything
  /// does; `final` is false for an interim response, after which another head comes.
  struct HeadFacts {
    std::optional<std::uint64_t> length;
    bool final = true;
  };
  [[nodiscard]] virtual Result<HeadFacts> finish_head(H2HeadReader& reader,
                                                      bool end_stream) noexcept = 0;
  /// Head, data, trailers, the end, or a reason to stop: look again.
  virtual void on_input() noexcept = 0;
  /// All of the part handed out was taken, or none ever will be.
  virtual void on_output() noexcept = 0;

  Error broken_{};
  Instant opened_{};
  io::PooledBytes inbox_;  ///< data that arrived, at most a stream's window
  std::uint64_t received_ = 0;
  std::optional<std::uint64_t> length_;
  struct Trailers : io::Pooled {
    [[nodiscard]] std::span<const Field> lines() const noexcept {
      return fields.size() == 0 ? std::span<const Field>{}
                                : std::span<const Field>(&fields[0], fields.size());
    }
    Fields fields;
    H2HeadText text;
  };
  std::unique_ptr<Trailers> trailers_;  ///< made when they come
  bool malformed_ = false;              ///< `broken_` is what RFC 9113 §8.1.1 calls so

 private:
  std::string_view out_;  ///< what is left of the part on its way out
  std::span<const Field> out_trailers_;
  std::int32_t id_ = 0;
  std::uint32_t reset_code_ = 0;
  const Blame peer_;
  bool head_done_ = false;
  bool reading_trailers_ = false;
  bool input_done_ = false;
  bool out_last_ = false;
  bool output_begun_ = false;  ///< our final head went out
  bool output_done_ = false;
  bool closed_ = false;
};

}  // namespace merlon::http
