// A client's frames, in any order and form, against an HTTP/2 server session that answers some of
// them. The input is a list of steps: frames of each kind with short fields, bytes as they are, and
// what the server's side does meanwhile.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "http/h2_session.h"

namespace {

using namespace merlon;
using namespace merlon::http;

void require(bool holds) {
  if (!holds) std::abort();
}

constexpr std::size_t kWindow = 65'535;
constexpr std::size_t kStreamsMax = 100;

class Stream final : public H2Stream {
 public:
  Stream() : H2Stream(Blame::kClient) {}
  RequestHead head;
  bool ready = false;
  bool answered = false;
  std::string body;
  std::array<Field, 1> trailers{
      Field{.name = "x-sum", .value = "1", .id = FieldId::kOther, .dropped = false}};
  io::PooledBytes taken;
  void take() { std::swap(taken, inbox_); }
  [[nodiscard]] std::size_t waiting() const { return inbox_.size(); }

 private:
  H2HeadReader::Into head_room() override {
    return {.fields = head.fields, .text = text_, .limits = {}};
  }
  Result<HeadFacts> finish_head(H2HeadReader& reader, bool end_stream) noexcept override {
    const Result<void> read = reader.finish_request(end_stream, head);
    if (!read) return std::unexpected(read.error());
    // What passed may be forwarded: it cannot be read in two ways.
    require(!head.method_text.empty() && !head.authority.empty() && !head.target.path.empty());
    for (const Field& field : head.fields) {
      require(!field.name.empty());
      for (const char c : field.value) require(c != '\r' && c != '\n' && c != '\0');
    }
    HeadFacts facts;
    if (head.framing == Framing::kLength) facts.length = head.content_length;
    return facts;
  }
  void on_input() noexcept override {}
  void on_output() noexcept override {}
  H2HeadText text_;
};

/// The steps, one after the other.
class Input {
 public:
  explicit Input(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto b = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return b;
  }
  std::string_view take(std::size_t n) {
    const std::string_view part = bytes_.substr(0, n);
    bytes_.remove_prefix(part.size());
    return part;
  }

 private:
  std::string_view bytes_;
};

std::string literal(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  out += static_cast<char>(name.size());
  out += name;
  out += static_cast<char>(value.size());
  return out += value;
}

/// Heads that are good, or nearly: mutation alone seldom finds one.
std::string canned(std::uint8_t which) {
  const std::string get =
      "\x82\x87" + literal(":path", "/a?b") + literal(":authority", "a.example");
  const std::string post = "\x83\x87\x84" + literal(":authority", "a.example");
  switch (which % 7) {
    case 0:
      return get;
    case 1:
      return post;
    case 2:
      return post + literal("content-length", "5");
    case 3:
      return get + literal("cookie", "a=b") + literal("cookie", "c=d") + literal("te", "trailers");
    case 4:
      return literal(":method", "CONNECT") + literal(":protocol", "websocket") + "\x87\x84" +
             literal(":authority", "a.example") + literal("sec-websocket-version", "13");
    case 5:
      return literal("x-sum", "1");
    default:
      return "\x82\x87\x84\x41\x09"
             "a.example\x40\x03x-a\x03"
             "abc";
  }
}

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id,
                  std::string_view payload) {
  const std::size_t n = payload.size();
  std::string out;
  for (const std::size_t b :
       {n >> 16U, n >> 8U, n, std::size_t{type}, std::size_t{flags}, std::size_t{id >> 24U},
        std::size_t{id >> 16U}, std::size_t{id >> 8U}, std::size_t{id}})
    out += static_cast<char>(b & 0xffU);
  return out.append(payload);
}

class Server final : private H2Session::Host {
 public:
  Server() : session_(*this, H2Settings{.extended_connect = true}) {
    receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, ""));
  }
  ~Server() {
    for (auto& [id, stream] : streams_) session_.withdraw(*stream);
  }

  void run(Input input) {
    while (!input.empty() && alive_) {
      step(input);
      std::size_t open = 0;
      for (const auto& [id, stream] : streams_) {
        require(stream->waiting() <= kWindow);
        open += stream->closed() ? 0U : 1U;
      }
      require(open <= kStreamsMax);
    }
    collect(SIZE_MAX);
  }

 private:
  void receive(std::string_view bytes) {
    alive_ = session_.receive(bytes, now_).has_value();
    require(alive_ == (session_.failure().code == 0));
  }

  /// What is to be written, in portions: frames that are whole, none too large.
  void collect(std::size_t portions) {
    std::string room(H2Session::kFrameBytesMax, '\0');
    for (std::size_t i = 0; i < portions; ++i) {
      const std::size_t n = session_.produce(room);
      if (n == 0) break;
      sent_.append(room.data(), n);
    }
    while (sent_.size() >= 9) {
      const auto number = [&](std::size_t at) {
        return std::size_t{static_cast<unsigned char>(sent_[at])};
      };
      const std::size_t size = number(0) << 16U | number(1) << 8U | number(2);
      require(size <= 16'384 && number(3) <= 9);
      if (sent_.size() < 9 + size) break;
      sent_.erase(0, 9 + size);
    }
    if (portions == SIZE_MAX) require(sent_.empty());
  }

  Stream* pick(std::uint8_t index) {
    const auto found = streams_.lower_bound(index);
    return found == streams_.end() ? nullptr : found->second.get();
  }

  void step(Input& input) {
    const std::uint8_t kind = input.byte();
    if (kind < 11) {
      const std::uint8_t flags = input.byte();
      const std::uint8_t index = input.byte();
      const std::uint8_t size = input.byte();
      const bool head = kind == 1 && size >= 0xf0;
      const std::string payload = head           ? canned(size)
                                  : size >= 0xc0 ? std::string(std::size_t{size} * 60, 'x')
                                                 : std::string(input.take(size));
      // Type 10 is one that nobody knows.
      return receive(frame(kind == 10 ? 0x16 : kind, flags, index, payload));
    }
    if (kind < 20) return receive(input.take(input.byte()));
    if (kind < 28) return collect(kind % 4U + 1U);
    if (kind < 32) {
      now_ += milliseconds{kind % 4U * 7U};
      return;
    }
    if (kind == 32) return session_.announce_shutdown();
    if (kind == 33) return session_.shut_down();
    if (kind == 34) return session_.release_idle_memory();
    Stream* const stream = pick(input.byte());
    if (stream != nullptr) act(*stream, kind, input.byte());
  }

  void act(Stream& stream, std::uint8_t kind, std::uint8_t how) {
    switch (kind % 5) {
      case 0:
        return answer(stream, how);
      case 1:
        stream.take();
        session_.consumed(stream, stream.taken.size());
        return stream.taken.clear();
      case 2:
        return session_.reset(stream, H2Code::kCancel);
      case 3:
        static_cast<void>(session_.respond_interim(stream, 100));
        return;
      default:
        if (!stream.answered || session_.sending(stream)) return;
        stream.body.assign(std::size_t{how} * 200, 'b');
        return session_.send(stream, stream.body, (how & 1U) != 0, {});
    }
  }

  void answer(Stream& stream, std::uint8_t how) {
    if (!stream.ready || stream.answered) return;
    stream.answered = true;
    ResponseHead head;
    head.status = 200;
    stream.body.assign(std::size_t{how} * 300, 'a');
    const bool last = (how & 1U) != 0;
    const bool trailers = last && (how & 2U) != 0;
    static_cast<void>(session_.respond(
        stream, head, false, stream.body, last,
        trailers ? std::span<const Field>(stream.trailers) : std::span<const Field>{}));
  }

  H2Stream* open_stream(std::int32_t id) override {
    std::size_t open = 0;
    for (const auto& [number, stream] : streams_) open += stream->closed() ? 0U : 1U;
    if (open >= kStreamsMax) return nullptr;
    auto& slot = streams_[id];
    require(slot == nullptr);  // a number is used once
    slot = std::make_unique<Stream>();
    return slot.get();
  }
  void request_ready(H2Stream& stream) override { static_cast<Stream&>(stream).ready = true; }
  void stream_closed(H2Stream&) noexcept override {}

  std::map<std::int32_t, std::unique_ptr<Stream>> streams_;
  std::string sent_;
  Instant now_{seconds{1'000}};
  bool alive_ = true;
  H2Session session_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto server = std::make_unique<Server>();
  server->run(Input({reinterpret_cast<const char*>(bytes), size}));
  return 0;
}
