#include "state/redis/reply.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>

#include <array>

namespace merlon::state::redis {
namespace {

// More than a reply of the largest size may bring: the numbers and line ends around its text.
constexpr std::size_t kUnreadBytesMax = Reply::kTextBytesMax + 16 * Reply::kValuesMax;

/// hiredis takes a null object as a want of memory and stops; anything else as built.
void* built(bool fits, Reply& reply) noexcept { return fits ? &reply : nullptr; }

Reply& reply_of(const redisReadTask* task) noexcept { return *static_cast<Reply*>(task->privdata); }

void* create_text(const redisReadTask* task, char* text, std::size_t size) {
  auto kind = Value::Kind::kText;
  if (task->type == REDIS_REPLY_STATUS) kind = Value::Kind::kStatus;
  if (task->type == REDIS_REPLY_ERROR) kind = Value::Kind::kError;
  Reply& reply = reply_of(task);
  return built(reply.add(kind, 0, {text, size}), reply);
}

/// The type of the count differs between versions of hiredis.
template <class Count>
void* create_array(const redisReadTask* task, Count members) {
  Reply& reply = reply_of(task);
  const bool fits = static_cast<std::uint64_t>(members) <= Reply::kValuesMax;
  return built(fits && reply.add(Value::Kind::kArray, static_cast<std::int64_t>(members), {}),
               reply);
}

void* create_integer(const redisReadTask* task, long long number) {
  Reply& reply = reply_of(task);
  return built(reply.add(Value::Kind::kInteger, number, {}), reply);
}

void* create_nil(const redisReadTask* task) {
  Reply& reply = reply_of(task);
  return built(reply.add(Value::Kind::kNil, 0, {}), reply);
}

void free_nothing(void* /*reply*/) {}

redisReplyObjectFunctions* functions() {
  static redisReplyObjectFunctions table = [] {
    redisReplyObjectFunctions made{};
    made.createString = &create_text;
    made.createArray = &create_array;
    made.createInteger = &create_integer;
    made.createNil = &create_nil;
    made.freeObject = &free_nothing;
    return made;
  }();
  return &table;
}

std::unexpected<Error> not_a_reply() {
  return fail(code::kStateProtocol, Blame::kUpstream, "this is no reply of Redis");
}

}  // namespace

bool Reply::is_error(std::string_view word) const noexcept {
  if (!is_error()) return false;
  const std::string_view all = text();
  return all.starts_with(word) && (all.size() == word.size() || all[word.size()] == ' ');
}

bool Reply::integers(std::span<std::int64_t> out) const noexcept {
  if (top().kind != Value::Kind::kArray || values_.size() != out.size() + 1) return false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (values_[i + 1].kind != Value::Kind::kInteger) return false;
    out[i] = values_[i + 1].integer;
  }
  return true;
}

std::size_t Reply::skip(std::size_t at) const noexcept {
  std::int64_t left = 1;
  while (left > 0 && at < values_.size()) {
    if (values_[at].kind == Value::Kind::kArray) left += values_[at].integer;
    --left;
    ++at;
  }
  return at;
}

bool Reply::add(Value::Kind kind, std::int64_t integer, std::string_view text) {
  if (values_.size() == kValuesMax || text.size() > kTextBytesMax - text_.size()) return false;
  values_.push_back({.kind = kind,
                     .integer = integer,
                     .text_at = static_cast<std::uint32_t>(text_.size()),
                     .text_bytes = static_cast<std::uint32_t>(text.size())});
  text_ += text;
  return true;
}

ReplyReader::ReplyReader() : reader_(redisReaderCreateWithFunctions(functions())) {
  if (reader_ != nullptr) reader_->privdata = &reply_;
}

ReplyReader::~ReplyReader() {
  if (reader_ != nullptr) redisReaderFree(reader_);
}

Result<void> ReplyReader::feed(std::string_view bytes) {
  if (reader_ == nullptr) return fail(code::kResources, Blame::kInternal, "memory is short");
  unread_bytes_ += bytes.size();
  broken_ = broken_ || unread_bytes_ > kUnreadBytesMax;
  if (broken_) return not_a_reply();
  if (redisReaderFeed(reader_, bytes.data(), bytes.size()) != REDIS_OK) {
    broken_ = true;
    return fail(code::kResources, Blame::kInternal, "memory is short");
  }
  return {};
}

Result<const Reply*> ReplyReader::next() {
  if (reader_ == nullptr || broken_) return not_a_reply();
  // The values of a reply that is not whole yet stay where they are.
  if (reader_->ridx == -1) reply_.clear();
  void* whole = nullptr;
  if (redisReaderGetReply(reader_, &whole) != REDIS_OK) {
    broken_ = true;
    return not_a_reply();
  }
  if (whole == nullptr) return nullptr;
  unread_bytes_ = reader_->len - reader_->pos;
  if (reply_.values().empty()) {
    broken_ = true;
    return not_a_reply();
  }
  return &reply_;
}

void write_command(std::string& out, std::span<const std::string_view> words) {
  constexpr std::size_t kWordsMax = 16;
  std::array<const char*, kWordsMax> begins{};
  std::array<std::size_t, kWordsMax> sizes{};
  const std::size_t count = std::min(words.size(), kWordsMax);
  for (std::size_t i = 0; i < count; ++i) {
    begins[i] = words[i].data();
    sizes[i] = words[i].size();
  }
  char* text = nullptr;
  const int size =
      redisFormatCommandArgv(&text, static_cast<int>(count), begins.data(), sizes.data());
  if (size > 0) out.append(text, static_cast<std::size_t>(size));
  if (text != nullptr) redisFreeCommand(text);
}

}  // namespace merlon::state::redis
