#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/h2_session.h"
#include "http/test_h2_wire.h"

/// A server's session with nothing behind it: what it sent is there as frames.
namespace merlon::http {

class TestStream final : public H2Stream {
 public:
  TestStream() : H2Stream(Blame::kClient) {}
  RequestHead head;
  bool ready = false;
  [[nodiscard]] std::string_view inbox() const { return inbox_; }

 private:
  H2HeadReader::Into head_room() override {
    return {.fields = head.fields, .text = text_, .limits = {}};
  }
  Result<HeadFacts> finish_head(H2HeadReader& reader, bool end_stream) noexcept override {
    const Result<void> read = reader.finish_request(end_stream, head);
    if (!read) return std::unexpected(read.error());
    HeadFacts facts;
    if (head.framing == Framing::kLength) facts.length = head.content_length;
    return facts;
  }
  void on_input() noexcept override {}
  void on_output() noexcept override {}
  H2HeadText text_;
};

/// A server that answers nothing by itself.
class TestServer : private H2Session::Host {
 public:
  explicit TestServer(const H2Settings& settings = {}) : session(*this, settings) {
    static_cast<void>(receive(std::string(h2wire::kPreface) + settings_frame()));
  }
  static std::string settings_frame() { return h2wire::settings({}); }

  Result<void> receive(std::string_view bytes) {
    const Result<void> result = session.receive(bytes, now);
    if (!result) error = result.error();
    collect();
    return result;
  }
  void collect() {
    std::array<char, 64 * 1024> out;
    while (const std::size_t n = session.produce(out)) sent_.append(out.data(), n);
    for (h2wire::Frame& f : h2wire::read_frames(sent_)) frames.push_back(std::move(f));
  }
  [[nodiscard]] const h2wire::Frame* last(std::uint8_t type) const {
    const auto found = std::ranges::find_if(frames.rbegin(), frames.rend(),
                                            [&](const h2wire::Frame& f) { return f.type == type; });
    return found == frames.rend() ? nullptr : &*found;
  }
  [[nodiscard]] std::size_t count(std::uint8_t type) const {
    return static_cast<std::size_t>(std::ranges::count(frames, type, &h2wire::Frame::type));
  }
  /// The code of GOAWAY, else of the last RST_STREAM, else nothing.
  [[nodiscard]] std::optional<H2Code> verdict() const {
    if (const h2wire::Frame* goaway = last(h2wire::kGoAway); goaway != nullptr)
      return static_cast<H2Code>(goaway->number(4));
    if (const h2wire::Frame* reset = last(h2wire::kRstStream); reset != nullptr)
      return static_cast<H2Code>(reset->number(0));
    return {};
  }
  void answer(std::int32_t id, std::string_view body = {}) {
    ResponseHead head;
    head.status = 200;
    head.framing = Framing::kLength;
    head.content_length = body.size();
    EXPECT_TRUE(session.respond(*streams.at(id), head, true, body, true, {}));
    collect();
  }

  Instant now{seconds{1'000}};
  std::map<std::int32_t, std::unique_ptr<TestStream>> streams;
  std::size_t streams_max = 100;
  std::vector<h2wire::Frame> frames;
  Error error{};
  H2Session session;
  [[nodiscard]] H2Session::Host& host() { return *this; }

 private:
  H2Stream* open_stream(std::int32_t id) override {
    std::size_t open = 0;
    for (const auto& [number, stream] : streams) open += stream->closed() ? 0U : 1U;
    if (open >= streams_max) return nullptr;
    return (streams[id] = std::make_unique<TestStream>()).get();
  }
  void request_ready(H2Stream& stream) override { static_cast<TestStream&>(stream).ready = true; }
  void stream_closed(H2Stream&) noexcept override {}

  std::string sent_;
};

}  // namespace merlon::http
