#pragma once

#include "config/schema.h"

/// The templates of schema.h. Include schema.h, not this file.
namespace merlon::config {
namespace detail {

template <class M>
inline constexpr bool kIsOptional = false;
template <class V>
inline constexpr bool kIsOptional<std::optional<V>> = true;
template <class M>
inline constexpr bool kIsLocated = false;
template <class V>
inline constexpr bool kIsLocated<Located<V>> = true;
template <class V>
inline constexpr bool kIsNumber = std::integral<V> && !std::same_as<V, bool>;

/// True when a member of type M can hold what a Type<V> reads.
template <class M, class V>
consteval bool fits() {
  if constexpr (std::same_as<M, V>) {
    return true;
  } else if constexpr (kIsOptional<M>) {
    return fits<typename M::value_type, V>();
  } else if constexpr (kIsLocated<M>) {
    return fits<decltype(M::value), V>();
  } else {
    return kIsNumber<M> && kIsNumber<V>;
  }
}

/// What reading starts from: the default of the member, so that nested objects keep theirs.
template <class V, class M>
V initial(const M& slot) {
  if constexpr (std::same_as<M, V>) {
    return slot;
  } else if constexpr (kIsOptional<M>) {
    return slot.has_value() ? initial<V>(*slot) : V{};
  } else if constexpr (kIsLocated<M>) {
    return initial<V>(slot.value);
  } else {
    return static_cast<V>(slot);
  }
}

/// Reports a number that its member cannot hold. Only a schema with too wide a range gets here.
void report_out_of_range(const Node& node, Reader& reader);

template <class V, class M>
bool store(M& slot, V value, const Node& node, Reader& reader) {
  if constexpr (std::same_as<M, V>) {
    slot = std::move(value);
  } else if constexpr (kIsOptional<M>) {
    if (!slot.has_value()) slot.emplace();
    return store<V>(*slot, std::move(value), node, reader);
  } else if constexpr (kIsLocated<M>) {
    slot.at = node.at();
    return store<V>(slot.value, std::move(value), node, reader);
  } else {
    if (!std::in_range<M>(value)) {
      report_out_of_range(node, reader);
      return false;
    }
    slot = static_cast<M>(value);
  }
  return true;
}

template <class V>
void walk_value(const Type<V>& type, const V& value, const Node* node, Rows& rows) {
  if (type.walk) {
    type.walk(value, node, rows);
  } else {
    rows.add(type.format(value), node);
  }
}

template <class V, class M>
void walk_slot(const Type<V>& type, const M& slot, const Node* node, Rows& rows) {
  if constexpr (std::same_as<M, V>) {
    walk_value(type, slot, node, rows);
  } else if constexpr (kIsOptional<M>) {
    if (slot.has_value()) {
      walk_slot(type, *slot, node, rows);
    } else {
      rows.add_absent(node);
    }
  } else if constexpr (kIsLocated<M>) {
    walk_slot(type, slot.value, node, rows);
  } else {
    walk_value(type, static_cast<V>(slot), node, rows);
  }
}

template <class V, class M>
std::string default_text(const Type<V>& type, const M& slot) {
  if constexpr (kIsOptional<M>) {
    return slot.has_value() ? default_text(type, *slot) : "not set";
  } else if constexpr (kIsLocated<M>) {
    return default_text(type, slot.value);
  } else if constexpr (std::same_as<M, V>) {
    return type.format(slot);
  } else {
    return type.format(static_cast<V>(slot));
  }
}

/// The error "expected …, found …", from the shape and the node.
void report_wrong_kind(const Node& node, const Shape& want, Reader& reader);
/// True for a scalar; otherwise reports.
bool expect_scalar(const Node& node, const Shape& want, Reader& reader);
/// True for a list with an allowed number of items; otherwise reports.
bool expect_list(const Node& node, const Shape& want, Reader& reader);
bool expect_mapping(const Node& node, const Shape& want, Reader& reader);
/// True when no two items of a list share a `name`; otherwise reports each that repeats one.
bool expect_distinct_names(const Node& list, Reader& reader);
/// How places address the item: by its `name`, or by number.
std::string item_segment(const Node* item, std::size_t index);
/// The text as a YAML scalar, in quotes where it needs them.
std::string yaml_scalar(std::string_view text);
/// "{a: 1, b: 2}" from the rows of a nested value.
std::string flow_mapping(const std::vector<EffectiveRow>& rows);
/// The item or member that a value was read from; nullptr when it is a default.
const Node* item_of(const Node* list, std::size_t index);
const Node* member_of(const Node* mapping, std::string_view key);

/// The error for a scalar whose text does not fit, with what is wrong about it.
void report_value(const Node& node, const Shape& want, std::string_view problem, Reader& reader);

/// True when some form of the value is a scalar.
bool takes_scalars(const Shape& shape);
std::shared_ptr<const Shape> words_shape(std::vector<std::string> words);
/// The error for a word that is none of `want.words`, with the nearest.
void report_unknown_word(const Node& node, const Shape& want, Reader& reader);
std::shared_ptr<const Shape> list_shape(std::shared_ptr<const Shape> item, std::size_t min,
                                        std::size_t max);
std::shared_ptr<const Shape> map_shape(const std::shared_ptr<const Shape>& key,
                                       std::shared_ptr<const Shape> value, std::size_t min,
                                       std::size_t max);
std::shared_ptr<const Shape> one_of_shape(std::vector<std::shared_ptr<const Shape>> parts);
std::shared_ptr<const Shape> object_shape(const ObjectBase& object);
std::shared_ptr<const Shape> waivable_shape(const Shape& strict, const Shape& loose,
                                            std::string_view slug);

template <class T>
bool read_items(const Type<T>& item, const Node& list, std::vector<T>& out, Reader& reader) {
  bool ok = true;
  out.clear();
  out.reserve(list.items().size());
  std::size_t index = 0;
  for (const Node& node : list.items()) {
    if (reader.full()) return false;
    const std::string segment = item_segment(&node, index++);
    const Reader::Step step(reader, segment);
    T value{};
    if (item.read(node, value, reader)) {
      out.push_back(std::move(value));
    } else {
      ok = false;
    }
  }
  return ok;
}

template <class T>
void walk_items(const Type<T>& item, const std::vector<T>& values, const Node* list, Rows& rows) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Node* node = item_of(list, i);
    rows.enter(item_segment(node, i));
    walk_value<T>(item, values[i], node, rows);
    rows.leave();
  }
}

template <class T>
std::string format_items(const Type<T>& item, const std::vector<T>& values) {
  std::string out = "[";
  for (const T& value : values) {
    if (out.size() > 1) out += ", ";
    out += item.format(value);
  }
  return out + "]";
}

}  // namespace detail

template <class T>
Type<T> custom(Custom<T> custom) {
  auto shape = std::make_shared<Shape>();
  shape->name = std::move(custom.name);
  shape->example = std::move(custom.example);
  shape->pattern = std::move(custom.pattern);
  Type<T> type;
  type.shape = shape;
  type.format = std::move(custom.format);
  type.read = [shape, parse = std::move(custom.parse)](const Node& node, T& out, Reader& reader) {
    if (!detail::expect_scalar(node, *shape, reader)) return false;
    std::expected<T, std::string> value = parse(node.text());
    if (!value.has_value()) {
      detail::report_value(node, *shape, value.error(), reader);
      return false;
    }
    out = std::move(*value);
    return true;
  };
  return type;
}

template <class E>
Type<E> words(std::vector<std::pair<std::string, E>> words) {
  std::vector<std::string> names;
  names.reserve(words.size());
  for (const auto& [word, meaning] : words) names.push_back(word);
  Type<E> type;
  type.shape = detail::words_shape(std::move(names));
  type.read = [words, shape = type.shape](const Node& node, E& out, Reader& reader) {
    if (!detail::expect_scalar(node, *shape, reader)) return false;
    for (const auto& [word, meaning] : words) {
      if (word != node.text()) continue;
      out = meaning;
      return true;
    }
    detail::report_unknown_word(node, *shape, reader);
    return false;
  };
  type.format = [words = std::move(words)](const E& value) {
    for (const auto& [word, meaning] : words) {
      if (meaning == value) return word;
    }
    return std::string{};
  };
  return type;
}

template <class T>
Type<T> object(const Object<T>& schema) {
  Type<T> type;
  type.shape = detail::object_shape(schema);
  type.read = [&schema](const Node& node, T& out, Reader& reader) {
    return schema.read(node, out, reader);
  };
  type.walk = [&schema](const T& value, const Node* node, Rows& rows) {
    schema.walk(value, node, rows);
  };
  type.format = [&schema](const T& value) {
    return detail::flow_mapping(effective(schema, value, nullptr));
  };
  return type;
}

template <class T>
Type<std::vector<T>> list_of(const Type<T>& item, std::size_t min, std::size_t max) {
  Type<std::vector<T>> type;
  type.shape = detail::list_shape(item.shape, min, max);
  type.read = [item, shape = type.shape](const Node& node, std::vector<T>& out, Reader& reader) {
    if (!detail::expect_list(node, *shape, reader)) return false;
    return detail::read_items(item, node, out, reader);
  };
  type.format = [item](const std::vector<T>& values) { return detail::format_items(item, values); };
  if (item.walk) {
    type.walk = [item](const std::vector<T>& values, const Node* node, Rows& rows) {
      if (values.empty()) rows.add("[]", node);
      detail::walk_items(item, values, node, rows);
    };
  }
  return type;
}

template <class T>
Type<std::vector<T>> named_list(const Type<T>& item, std::size_t min, std::size_t max) {
  Type<std::vector<T>> type = list_of(item, min, max);
  type.read = [list = type.read](const Node& node, std::vector<T>& out, Reader& reader) {
    const bool distinct = detail::expect_distinct_names(node, reader);
    return list(node, out, reader) && distinct;
  };
  return type;
}

template <class T>
Type<std::vector<T>> one_or_list(const Type<T>& item, std::size_t min, std::size_t max) {
  const Type<std::vector<T>> list = list_of(item, min, max);
  Type<std::vector<T>> type;
  type.shape = detail::one_of_shape({item.shape, list.shape});
  type.read = [item, list](const Node& node, std::vector<T>& out, Reader& reader) {
    if (node.is_sequence()) return list.read(node, out, reader);
    T value{};
    if (!item.read(node, value, reader)) return false;
    out.clear();
    out.push_back(std::move(value));
    return true;
  };
  type.format = list.format;
  if (list.walk) {
    type.walk = [item, list](const std::vector<T>& values, const Node* node, Rows& rows) {
      if (node != nullptr && !node->is_sequence() && values.size() == 1) {
        detail::walk_value<T>(item, values.front(), node, rows);
      } else {
        list.walk(values, node, rows);
      }
    };
  }
  return type;
}

template <class T>
Type<std::map<std::string, T, std::less<>>> map_of(const Type<std::string>& key, Type<T> value,
                                                   std::size_t min, std::size_t max) {
  using Map = std::map<std::string, T, std::less<>>;
  Type<Map> type;
  type.shape = detail::map_shape(key.shape, value.shape, min, max);
  type.read = [key, value, shape = type.shape](const Node& node, Map& out, Reader& reader) {
    if (!detail::expect_mapping(node, *shape, reader)) return false;
    bool ok = true;
    out.clear();
    for (const Member& member : node.members()) {
      if (reader.full()) return false;
      const Reader::Step step(reader, member.key.text());
      std::string name;
      T entry{};
      const bool key_ok = key.read(member.key, name, reader);
      const bool value_ok = value.read(member.value, entry, reader);
      ok = ok && key_ok && value_ok;
      if (key_ok && value_ok) out.try_emplace(std::move(name), std::move(entry));
    }
    return ok;
  };
  type.format = [value](const Map& values) {
    std::string out = "{";
    for (const auto& [name, entry] : values) {
      if (out.size() > 1) out += ", ";
      out += detail::yaml_scalar(name) + ": " + value.format(entry);
    }
    return out + "}";
  };
  type.walk = [value](const Map& values, const Node* node, Rows& rows) {
    if (values.empty()) rows.add("{}", node);
    const auto walk_entry = [&](const std::string& name, const T& entry, const Node* at) {
      rows.enter(name);
      detail::walk_value<T>(value, entry, at, rows);
      rows.leave();
    };
    if (node == nullptr) {
      for (const auto& [name, entry] : values) walk_entry(name, entry, nullptr);
      return;
    }
    // By the node, since looking each name up in it would be quadratic.
    for (const Member& member : node->members()) {
      const auto found = values.find(member.key.text());
      if (found != values.end()) walk_entry(found->first, found->second, &member.value);
    }
  };
  return type;
}

template <class T>
Type<Located<T>> located(const Type<T>& type) {
  Type<Located<T>> out;
  out.shape = type.shape;
  out.read = [type](const Node& node, Located<T>& into, Reader& reader) {
    into.at = node.at();
    return type.read(node, into.value, reader);
  };
  out.format = [type](const Located<T>& located) { return type.format(located.value); };
  if (type.walk) {
    out.walk = [type](const Located<T>& located, const Node* node, Rows& rows) {
      type.walk(located.value, node, rows);
    };
  }
  return out;
}

template <class T>
Type<T> word_or(std::string word, T value, Type<T> otherwise,
                std::function<bool(const T&)> is_word) {
  Type<T> type;
  type.shape = detail::one_of_shape({detail::words_shape({word}), otherwise.shape});
  type.read = [word, value, otherwise, shape = type.shape,
               takes_scalars = detail::takes_scalars(*otherwise.shape)](const Node& node, T& out,
                                                                        Reader& reader) {
    if (node.is_scalar() && node.text() == word) {
      out = value;
      return true;
    }
    if (!node.is_sequence() && !node.is_mapping() && !takes_scalars) {
      detail::report_wrong_kind(node, *shape, reader);  // names the word, too
      return false;
    }
    return otherwise.read(node, out, reader);
  };
  type.format = [word, otherwise, is_word](const T& v) {
    return is_word(v) ? word : otherwise.format(v);
  };
  type.walk = [word, otherwise, is_word](const T& v, const Node* node, Rows& rows) {
    if (is_word(v)) {
      rows.add(word, node);
    } else {
      detail::walk_value<T>(otherwise, v, node, rows);
    }
  };
  return type;
}

template <class T>
Type<T> scalar_or(const Type<T>& scalar, const Type<T>& other,
                  const std::function<bool(const T&)>& as_scalar) {
  Type<T> type;
  type.shape = detail::one_of_shape({scalar.shape, other.shape});
  type.read = [scalar, other, shape = type.shape](const Node& node, T& out, Reader& reader) {
    if (node.is_scalar()) return scalar.read(node, out, reader);
    if (node.is_null()) {
      detail::report_wrong_kind(node, *shape, reader);
      return false;
    }
    return other.read(node, out, reader);
  };
  type.format = [scalar, other, as_scalar](const T& v) {
    return as_scalar(v) ? scalar.format(v) : other.format(v);
  };
  type.walk = [scalar, other, as_scalar](const T& v, const Node* node, Rows& rows) {
    const bool is_short = node != nullptr ? node->is_scalar() : as_scalar(v);
    detail::walk_value<T>(is_short ? scalar : other, v, node, rows);
  };
  return type;
}

template <class T, class V>
Type<T> converted(const Type<V>& type, const std::function<T(V)>& to,
                  const std::function<V(const T&)>& from) {
  Type<T> out;
  out.shape = type.shape;
  out.read = [type, to](const Node& node, T& into, Reader& reader) {
    V value{};
    if (!type.read(node, value, reader)) return false;
    into = to(std::move(value));
    return true;
  };
  out.format = [type, from](const T& value) { return type.format(from(value)); };
  if (type.walk) {
    out.walk = [type, from](const T& value, const Node* node, Rows& rows) {
      type.walk(from(value), node, rows);
    };
  }
  return out;
}

template <class T>
Type<T> where(const Type<T>& type, const std::function<std::string(const T&)>& problem) {
  Type<T> out = type;
  out.read = [type, problem](const Node& node, T& into, Reader& reader) {
    if (!type.read(node, into, reader)) return false;
    const std::string wrong = problem(into);
    if (wrong.empty()) return true;
    detail::report_value(node, *type.shape, wrong, reader);
    return false;
  };
  return out;
}

template <class T>
Type<T> waivable(const Type<T>& strict, const Type<T>& loose, const std::string& slug) {
  Type<T> out = strict;
  out.shape = detail::waivable_shape(*strict.shape, *loose.shape, slug);
  out.read = [strict, loose, slug](const Node& node, T& into, Reader& reader) {
    Diagnostics findings;
    Reader probe(findings, reader.directory());
    if (strict.read(node, into, probe)) return true;
    Diagnostics ignored;
    Reader second(ignored, reader.directory());
    if (loose.read(node, into, second)) {
      return reader.require_waived(slug, node.at(), findings.all().front().message);
    }
    for (const Diagnostic& finding : findings.all()) {
      reader.error(finding.at, finding.message, finding.help);
    }
    return false;
  };
  return out;
}

template <class T>
bool Object<T>::read(const Node& node, T& into, Reader& reader) const {
  if (mark_ != nullptr) into.*mark_ = node.at();
  if (!read_keys(node, &into, reader)) return false;
  const std::size_t errors = reader.diagnostics().error_count();
  for (const auto check : checks_) check(into, reader);
  for (const auto check : simple_checks_) check(into, reader.diagnostics());
  return reader.diagnostics().error_count() == errors;
}

template <class T>
Object<T>& Object<T>::later(std::string key, std::string what) {
  Key entry;
  entry.name = std::move(key);
  entry.doc = std::move(what);
  entry.later = true;
  add(std::move(entry));
  return *this;
}

template <class T>
template <class V>
Object<T>& Object<T>::read_apart(std::string key, const Type<V>& type, std::string doc) {
  Key entry;
  entry.name = std::move(key);
  entry.doc = std::move(doc);
  entry.shape = type.shape;
  entry.default_text = "not set";
  add(std::move(entry));
  return *this;
}

template <class T>
template <class M, class V>
Object<T>& Object<T>::put(std::string key, M T::* member, const Type<V>& type, std::string doc,
                          bool required) {
  static_assert(detail::fits<M, V>(),
                "the member must be V, Located<V>, std::optional<V> or std::optional<Located<V>> "
                "for a Type<V>");
  Key entry;
  entry.name = std::move(key);
  entry.doc = std::move(doc);
  entry.shape = type.shape;
  entry.required = required;
  const T defaults{};
  if (!required && (detail::kIsOptional<M> || type.shape->form != Shape::Form::kObject)) {
    entry.default_text = detail::default_text(type, defaults.*member);
  }
  entry.read = [member, type](const Node& node, void* object, Reader& reader) {
    M& slot = static_cast<T*>(object)->*member;
    V value = detail::initial<V>(slot);
    if (!type.read(node, value, reader)) return false;
    return detail::store<V>(slot, std::move(value), node, reader);
  };
  entry.walk = [member, type](const void* object, const Node* node, Rows& rows) {
    detail::walk_slot(type, static_cast<const T*>(object)->*member, node, rows);
  };
  add(std::move(entry));
  return *this;
}

}  // namespace merlon::config
