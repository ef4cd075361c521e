#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "base/time.h"
#include "base/units.h"
#include "config/tree.h"

/// Schemas: what a piece of configuration may say, stated once. From it come the typed reading with
/// every error at its place, the JSON Schema, the reference page and the list of effective values.
///
/// A room states its keys next to the struct that they fill:
///
///     struct Retry {
///       std::uint32_t attempts = 1;              // the default is the initialiser: docs show it
///       std::vector<RetryOn> on;
///       std::optional<milliseconds> pause;       // absent stays std::nullopt
///       Located<FilePath> log;                   // a value that remembers its place
///       Mark at;
///     };
///
///     const Object<Retry>& retry_schema() {
///       static const auto schema =
///           Object<Retry>("retry", "When a failed request is sent again.")
///               .field("attempts", &Retry::attempts, integer(1, 5), "How often at most.")
///               .field("on", &Retry::on, list_of(words<RetryOn>({{"reset", kReset}})), "…")
///               .field("pause", &Retry::pause, duration(1ms, 1s), "Time between two attempts.")
///               .required("log", &Retry::log, file(), "Where attempts are written.")
///               .later("jitter", "random pauses")
///               .mark(&Retry::at)
///               .check([](const Retry& r, Reader& reader) {
///                 if (r.attempts > 1 && r.on.empty()) reader.error(r.at, "`on` names no failure");
///               });
///       return schema;
///     }
///
///     Reader reader(diagnostics, directory_of(path), &waivers);
///     std::optional<Retry> retry = read(retry_schema(), node, reader);
///
/// and elsewhere `.field("retry", &Upstream::retry, object(retry_schema()), "…")`. A schema is
/// immutable and lives as long as the program; readers may share it over threads.
namespace merlon::config {

class ObjectBase;
template <class T>
class Object;
class Waivers;

/// A value with the place it was written at. `at` is unknown when the value is the default.
template <class T>
struct Located {
  T value{};
  Mark at;

  [[nodiscard]] bool is_default() const noexcept { return !at.known(); }
  const T& operator*() const noexcept { return value; }
  const T* operator->() const noexcept { return &value; }
};

template <class T>
[[nodiscard]] std::vector<T> values_of(const std::vector<Located<T>>& located) {
  std::vector<T> out;
  out.reserve(located.size());
  for (const auto& each : located) out.push_back(*each);
  return out;
}

/// A file that the configuration names.
struct FilePath {
  std::string written;  ///< as in the configuration, for messages and `show`
  std::string path;     ///< to open: relative names are relative to the main configuration file
  [[nodiscard]] bool empty() const noexcept { return written.empty(); }
};

/// What reading needs besides the tree: where errors go, which place is being read, the waivers.
/// One per load; not thread-safe.
class Reader {
 public:
  /// `directory` is that of the main configuration file. Without `waivers` nothing is waived.
  explicit Reader(Diagnostics& out, std::string directory = ".", Waivers* waivers = nullptr)
      : out_(&out), directory_(std::move(directory)), waivers_(waivers) {}

  void error(const Mark& at, std::string message, std::string help = {});
  [[nodiscard]] Diagnostics& diagnostics() noexcept { return *out_; }
  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  /// May be nullptr.
  [[nodiscard]] Waivers* waivers() noexcept { return waivers_; }

  /// The dotted place being read, such as "routes.orders.timeout": what a waiver's `on` says.
  [[nodiscard]] std::string place() const;
  /// Judges a violated rule at `place()`, or at `place() + "." + below` (see waivers.h): true when
  /// a waiver lets it pass, otherwise an error is reported.
  bool require_waived(std::string_view slug, const Mark& at, std::string message,
                      std::string_view below = {});
  /// True once so many errors (1,000) are reported that reading on helps nobody.
  [[nodiscard]] bool full() const noexcept;

  /// Enters a key or item while it lives. `segment` must outlive it.
  class Step {
   public:
    Step(Reader& reader, std::string_view segment);
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    Reader& reader_;
  };

 private:
  Diagnostics* out_;
  std::string directory_;
  Waivers* waivers_;
  std::vector<std::string_view> place_;
  bool said_full_ = false;
};

/// One value in force and where it comes from.
struct EffectiveRow {
  std::string place;    ///< "routes.orders.timeout"
  std::string value;    ///< as it would be written, or what it means that there is none
  Mark at;              ///< unknown: the default
  bool absent = false;  ///< nothing is written

  /// "merlon.yaml:12" or "default".
  [[nodiscard]] std::string origin() const;
};

/// Collects effective values while schemas are walked.
class Rows {
 public:
  /// Adds the value at the current place; `node` is nullptr for a default.
  void add(std::string value, const Node* node);
  /// Adds that nothing is written there, in the words of the key.
  void add_absent(const Node* node);
  /// `absent`: what it means when nothing is written there. It must outlive the stay.
  void enter(std::string_view segment, std::string_view absent = {});
  void leave();
  [[nodiscard]] std::vector<EffectiveRow> take() { return std::move(rows_); }

 private:
  std::vector<EffectiveRow> rows_;
  std::vector<std::string> place_;
  std::string_view absent_;
};

/// What a type accepts, as data: documentation and JSON Schema are written from it.
struct Shape {
  enum class Form : std::uint8_t {
    kText,
    kInteger,
    kBoolean,
    kWords,
    kList,
    kMap,
    kObject,
    kOneOf
  };
  Form form = Form::kText;
  std::string name;     ///< for people: "duration from 1ms to 30s"
  std::string example;  ///< a valid value as written in YAML: "5s"
  std::string pattern;  ///< regular expression of JSON Schema (ECMA-262) for kText; may be empty
  /// Bounds of the integer, the length of the text, or the count of items, by form.
  std::optional<std::uint64_t> minimum;
  std::optional<std::uint64_t> maximum;
  std::vector<std::string> words;                   ///< kWords
  std::vector<std::shared_ptr<const Shape>> parts;  ///< kList, kMap: the item; kOneOf: each form
  const ObjectBase* object = nullptr;               ///< kObject
};

/// How values of one type are read, written and documented. Build these with the functions below;
/// fill the fields by hand only for a form that they cannot express.
template <class T>
struct Type {
  using Value = T;
  std::shared_ptr<const Shape> shape;
  /// True when `out` holds the value. False after at least one error was reported.
  std::function<bool(const Node& node, T& out, Reader& reader)> read;
  /// One line, as it would be written in YAML.
  std::function<std::string(const T&)> format;
  /// Adds the rows of the value and of all below it; empty: one row with `format`.
  std::function<void(const T&, const Node* node, Rows& rows)> walk;
};

// ---- Scalars. Every one refuses null, lists and mappings, and says what it wants instead. ----

/// Text of `length_min` to `length_max` bytes, without control characters. Numbers are text, too.
[[nodiscard]] Type<std::string> text(std::size_t length_min = 1, std::size_t length_max = 1024);
/// A name that other parts refer to: letters, digits, `-`, `_` and `.`, at most 64.
[[nodiscard]] Type<std::string> name();
/// `true` or `false` and nothing else.
[[nodiscard]] Type<bool> boolean();
/// A decimal number without quotes, sign, leading zeros or fraction.
[[nodiscard]] Type<std::uint64_t> integer(std::uint64_t min, std::uint64_t max);
/// An amount with its unit: `16KiB`. See base/units.h for these four.
[[nodiscard]] Type<std::uint64_t> bytes(std::uint64_t min, std::uint64_t max);
[[nodiscard]] Type<milliseconds> duration(milliseconds min, milliseconds max);
/// At least one event; `events_max` bounds the number before the slash.
[[nodiscard]] Type<Rate> rate(std::uint64_t events_max = 1'000'000'000);
[[nodiscard]] Type<std::uint32_t> percent(std::uint32_t min = 0, std::uint32_t max = 100);
[[nodiscard]] Type<std::uint16_t> port();
/// `192.0.2.1:443` or `"[2001:db8::1]:443"`.
[[nodiscard]] Type<Endpoint> endpoint();
[[nodiscard]] Type<IpAddress> ip_address();
/// `10.0.0.0/8`; host bits must be zero.
[[nodiscard]] Type<Cidr> cidr();
/// The name of a file; it is not opened here.
[[nodiscard]] Type<FilePath> file();
/// As `file`, for a file that holds a secret: the reference says that only its owner may read it.
[[nodiscard]] Type<FilePath> secret_file();

/// What a type of one's own is made of; see `custom`.
template <class T>
struct Custom {
  std::string name;          ///< "host pattern"
  std::string example;       ///< `"*.example.com"`
  std::string pattern = {};  ///< for JSON Schema; may be empty
  /// The value, or what is wrong with the text ("a label is empty"), without quoting the text: the
  /// message does that, escaped.
  std::function<std::expected<T, std::string>(std::string_view text)> parse;
  std::function<std::string(const T&)> format;
};
/// A scalar with its own grammar: hosts, paths, methods, origins …
template <class T>
[[nodiscard]] Type<T> custom(Custom<T> custom);

/// One of a few words, each standing for a value.
template <class E>
[[nodiscard]] Type<E> words(std::vector<std::pair<std::string, E>> words);

// ---- Compositions ----

/// The mapping that `schema` describes. `schema` must live as long as the program.
template <class T>
[[nodiscard]] Type<T> object(const Object<T>& schema);
/// A list of `min` to `max` values.
template <class T>
[[nodiscard]] Type<std::vector<T>> list_of(const Type<T>& item, std::size_t min = 0,
                                           std::size_t max = 1024);
/// A list of mappings that each have a `name`, all different: places address items by it.
template <class T>
[[nodiscard]] Type<std::vector<T>> named_list(const Type<T>& item, std::size_t min = 0,
                                              std::size_t max = 65'536);
/// One value without list brackets, or a list of `min` to `max` of them.
template <class T>
[[nodiscard]] Type<std::vector<T>> one_or_list(const Type<T>& item, std::size_t min = 1,
                                               std::size_t max = 1024);
/// A mapping from names to values. `key` reads the keys, `name()` as a rule.
template <class T>
[[nodiscard]] Type<std::map<std::string, T, std::less<>>> map_of(const Type<std::string>& key,
                                                                 Type<T> value, std::size_t min = 0,
                                                                 std::size_t max = 65'536);
/// The value together with its place. Fields of type Located<T> do this by themselves: it is needed
/// for the items of lists and maps.
template <class T>
[[nodiscard]] Type<Located<T>> located(const Type<T>& type);
/// A word with a fixed meaning, or else `otherwise`: `auth: none` beside `auth: {…}`.
/// `is_word` tells for output whether a value is the one that the word stands for.
template <class T>
[[nodiscard]] Type<T> word_or(std::string word, T value, Type<T> otherwise,
                              std::function<bool(const T&)> is_word);
/// A scalar read by `scalar`, anything else by `other`: `a:80` beside `{address: a:80, weight: 2}`.
/// `as_scalar` tells for output whether the short form says all of a value.
template <class T>
[[nodiscard]] Type<T> scalar_or(const Type<T>& scalar, const Type<T>& other,
                                const std::function<bool(const T&)>& as_scalar);
/// A type for T made from one for V.
template <class T, class V>
[[nodiscard]] Type<T> converted(const Type<V>& type, const std::function<T(V)>& to,
                                const std::function<V(const T&)>& from);
/// A type narrowed by a test: `problem` returns what is wrong, "" when nothing is.
template <class T>
[[nodiscard]] Type<T> where(const Type<T>& type,
                            const std::function<std::string(const T&)>& problem);
/// `strict`, and what only `loose` accepts if a waiver of rule `slug` names this very place.
/// For ranges that a waiver may widen.
template <class T>
[[nodiscard]] Type<T> waivable(const Type<T>& strict, const Type<T>& loose,
                               const std::string& slug);

// ---- Objects ----

/// The part of a schema that does not depend on the struct: keys and documentation.
class ObjectBase {
 public:
  struct Key {
    std::string name;
    std::string doc;
    std::shared_ptr<const Shape> shape;  ///< nullptr for `later` keys
    bool required = false;
    bool later = false;              ///< in the language, not built yet; `doc` names the part
    std::string default_text;        ///< "" for required keys and nested objects
    std::string absent = "not set";  ///< what it means when nothing is written
    std::function<bool(const void* object)> absent_applies;  ///< that it does; empty: always
    std::function<bool(const Node& node, void* object, Reader& reader)>
        read;  ///< empty: read apart
    std::function<void(const void* object, const Node* node, Rows& rows)> walk;
  };

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const std::string& summary() const noexcept { return summary_; }
  [[nodiscard]] const std::vector<Key>& keys() const noexcept { return keys_; }

 protected:
  ObjectBase(std::string name, std::string summary)
      : name_(std::move(name)), summary_(std::move(summary)) {}
  void add(Key key);
  void set_absent(std::string meaning, std::function<bool(const void* object)> applies);
  [[nodiscard]] bool read_keys(const Node& node, void* object, Reader& reader) const;
  void walk_keys(const void* object, const Node* node, Rows& rows) const;

 private:
  [[nodiscard]] const Key* find(std::string_view key) const noexcept;
  void report_unknown(const Node& key, Reader& reader) const;

  std::string name_;
  std::string summary_;
  std::vector<Key> keys_;
};

/// The schema of a mapping that fills a T. T{} holds the defaults.
template <class T>
class Object : public ObjectBase {
 public:
  /// `name` is the heading in the reference ("upstream tls"), unique in a configuration; `summary`
  /// one or two sentences under it.
  Object(std::string name, std::string summary) : ObjectBase(std::move(name), std::move(summary)) {}

  /// An optional key. The member is a V, Located<V>, std::optional<V> or
  /// std::optional<Located<V>> (any integer type for integers and bytes).
  template <class M, class V>
  Object& field(std::string key, M T::* member, const Type<V>& type, std::string doc) {
    return put(std::move(key), member, type, std::move(doc), false);
  }
  /// A key that must be there.
  template <class M, class V>
  Object& required(std::string key, M T::* member, const Type<V>& type, std::string doc) {
    return put(std::move(key), member, type, std::move(doc), true);
  }
  /// A key that belongs to the language while its part (`what`: "rate limits") is not built: using
  /// it is an error that says so, since it would do nothing.
  Object& later(std::string key, std::string what);
  /// A key that something else reads from the tree (`waivers`): known and documented here.
  template <class V>
  Object& read_apart(std::string key, const Type<V>& type, std::string doc);
  /// What it means that the last key, an optional, is absent: "one per core". Shown as its default.
  /// `applies`, unless null, tells whether the key would do anything in an object.
  Object& absent(std::string meaning, bool (*applies)(const T&) = nullptr) {
    if (applies == nullptr) {
      set_absent(std::move(meaning), {});
    } else {
      set_absent(std::move(meaning),
                 [applies](const void* object) { return applies(*static_cast<const T*>(object)); });
    }
    return *this;
  }
  /// Where the mapping begins is kept in this member.
  Object& mark(Mark T::* member) {
    mark_ = member;
    return *this;
  }
  /// Called with each object whose keys are all right; reports what is wrong between them.
  Object& check(void (*check)(const T&, Reader&)) {
    checks_.push_back(check);
    return *this;
  }
  Object& check(void (*check)(const T&, Diagnostics&)) {
    simple_checks_.push_back(check);
    return *this;
  }

  /// See Type::read. On failure `into` holds what could be read, the rest is as it was.
  [[nodiscard]] bool read(const Node& node, T& into, Reader& reader) const;
  void walk(const T& value, const Node* node, Rows& rows) const { walk_keys(&value, node, rows); }

 private:
  template <class M, class V>
  Object& put(std::string key, M T::* member, const Type<V>& type, std::string doc, bool required);

  Mark T::* mark_ = nullptr;
  std::vector<void (*)(const T&, Reader&)> checks_;
  std::vector<void (*)(const T&, Diagnostics&)> simple_checks_;
};

/// Reads `node`, usually the root of a tree. nullopt after at least one error; all errors are
/// reported, not only the first.
template <class T>
[[nodiscard]] std::optional<T> read(const Object<T>& schema, const Node& node, Reader& reader) {
  T value{};
  if (!schema.read(node, value, reader)) return std::nullopt;
  return value;
}

/// Every value in force with its origin, in the order of the schema. `root` is the node that
/// `value` was read from without errors, or nullptr for defaults.
template <class T>
[[nodiscard]] std::vector<EffectiveRow> effective(const Object<T>& schema, const T& value,
                                                  const Node* root) {
  Rows rows;
  schema.walk(value, root, rows);
  return rows.take();
}

/// JSON Schema (draft 2020-12) for editors, indented. `root` describes the whole file.
[[nodiscard]] std::string json_schema(const ObjectBase& root);
/// The reference page: a section for each object, a table of its keys. Defaults shown are those of
/// the object's own struct: state a member's other defaults in the text of its key.
[[nodiscard]] std::string reference_markdown(const ObjectBase& root);

}  // namespace merlon::config

#include "config/schema_impl.h"  // IWYU pragma: export
