// An HTTP/2 server's bytes, as the client's session takes them in, between requests that begin, go
// on, end and are given up. The first byte says how the bytes are cut; each piece has a byte in
// front that says what our side does before it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/h2_client.h"
#include "http/h2_session.h"

namespace {

using namespace merlon;
using namespace merlon::http;

void require(bool holds) {
  if (!holds) std::abort();
}

class FuzzedStream final : public H2Stream {
 public:
  explicit FuzzedStream(Method asked) : H2Stream(Blame::kUpstream), asked_(asked) {}

  void take(H2Session& session) {
    require(inbox_.size() <= 65'535);
    session.consumed(*this, inbox_.size());
    inbox_.clear();
  }
  void check() const {
    require(head_.status == 0 || (head_.status >= 100 && head_.status <= 599));
    require(head_.fields.size() <= Fields::kCapacity);
    require(!input_done() || !length_ || broken_.code != 0 || received_ == *length_);
  }

 private:
  H2HeadReader::Into head_room() override {
    return {.fields = head_.fields, .text = text_, .limits = {}};
  }
  Result<HeadFacts> finish_head(H2HeadReader& reader, bool end_stream) noexcept override {
    const Result<void> read = reader.finish_response(end_stream, asked_, head_);
    if (!read) return std::unexpected(read.error());
    HeadFacts facts{.length = {}, .final = !head_.is_interim()};
    if (head_.framing == Framing::kLength) facts.length = head_.content_length;
    return facts;
  }
  void on_input() noexcept override {}
  void on_output() noexcept override {}
  Method asked_;
  ResponseHead head_;
  H2HeadText text_;
};

class FuzzedClient final : private H2Session::Host {
 public:
  FuzzedClient() : session_(*this, H2Client::settings_for(100)) { write(); }
  ~FuzzedClient() override {
    for (const auto& stream : streams_) session_.forget(*stream);
  }

  void act(std::uint8_t action) {
    if (action == 0xff) {
      session_.release_idle_memory();
    } else if (action < 64) {
      ask(action % 2 == 0 ? Method::kGet : Method::kHead, action % 4 < 2);
    } else if (!streams_.empty()) {
      FuzzedStream& stream = *streams_[action % streams_.size()];
      if (action < 128) {
        stream.take(session_);
      } else if (action < 192) {
        session_.send(stream, "more of the body", action % 2 == 0, {});
      } else {
        session_.reset(stream, H2Code::kCancel);
        session_.forget(stream);
      }
    }
    write();
  }

  bool receive(std::string_view bytes) {
    const Result<void> taken = session_.receive(bytes, Instant{seconds{1'000}});
    write();
    for (const auto& stream : streams_) stream->check();
    require(taken.has_value() || session_.failure().code != 0);
    require(taken.has_value() || !session_.can_request());
    return taken.has_value();
  }

 private:
  void ask(Method method, bool whole) {
    if (streams_.size() == 32) return;
    RequestHead head;
    head.method = method;
    head.method_text = method_name(method);
    head.target.path = "/";
    streams_.push_back(std::make_unique<FuzzedStream>(method));
    if (!session_.request(*streams_.back(), head, "https", "a.example", "body", whole))
      streams_.pop_back();
  }
  void write() {
    std::array<char, 32 * 1024> out;
    for (int i = 0; i < 64 && session_.produce(out) > 0; ++i) {
    }
  }
  H2Stream* open_stream(std::int32_t) override { return nullptr; }
  void request_ready(H2Stream&) override { std::abort(); }
  void stream_closed(H2Stream&) noexcept override {}

  std::vector<std::unique_ptr<FuzzedStream>> streams_;
  H2Session session_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = bytes[0] == 0 ? size : bytes[0];
  std::string_view data(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  FuzzedClient client;
  // A server's SETTINGS come first, or nothing does.
  if (!client.receive(std::string_view("\0\0\0\4\0\0\0\0\0", 9))) return 0;
  client.act(0);
  while (!data.empty()) {
    client.act(static_cast<std::uint8_t>(data.front()));
    data.remove_prefix(1);
    const std::string_view part = data.substr(0, piece);
    data.remove_prefix(part.size());
    if (!client.receive(part)) return 0;
  }
  return 0;
}
