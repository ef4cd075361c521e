#include "config/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "base/ascii.h"
#include "base/escape.h"
#include "config/shown.h"
#include "config/waivers.h"

namespace merlon::config {
namespace {

constexpr std::size_t kErrorsMax = 1000;      // whoever mends that many reads the rest later
constexpr std::size_t kSuggestBytesMax = 64;  // edit distance is quadratic

}  // namespace

void Reader::error(const Mark& at, std::string message, std::string help) {
  if (!full()) out_->error(at, std::move(message), std::move(help));
  if (!full() || said_full_) return;
  said_full_ = true;
  out_->error(at, "too many errors: the rest of the file is not checked");
}

bool Reader::full() const noexcept { return out_->error_count() >= kErrorsMax; }

std::string Reader::place() const {
  std::string out;
  for (const std::string_view segment : place_) {
    if (!out.empty()) out += '.';
    out += segment;
  }
  return out;
}

bool Reader::require_waived(std::string_view slug, const Mark& at, std::string message,
                            std::string_view below) {
  std::string where = place();
  if (!below.empty()) {
    if (!where.empty()) where += '.';
    where += below;
  }
  Waivers none;
  return config::require_waived(*out_, waivers_ != nullptr ? *waivers_ : none, slug, where, at,
                                std::move(message));
}

Reader::Step::Step(Reader& reader, std::string_view segment) : reader_(reader) {
  reader_.place_.push_back(segment);
}
Reader::Step::~Step() { reader_.place_.pop_back(); }

std::string EffectiveRow::origin() const { return at.known() ? at.file_line() : "default"; }

void Rows::add(std::string value, const Node* node) {
  std::string place;
  for (const std::string& segment : place_) {
    if (!place.empty()) place += '.';
    place += segment;
  }
  rows_.push_back({.place = std::move(place),
                   .value = std::move(value),
                   .at = node != nullptr ? node->at() : Mark{}});
}
void Rows::add_absent(const Node* node) {
  add(std::string(absent_), node);
  rows_.back().absent = true;
}
void Rows::enter(std::string_view segment, std::string_view absent) {
  place_.emplace_back(segment);
  absent_ = absent;
}
void Rows::leave() { place_.pop_back(); }

// ---- Objects ----

void ObjectBase::add(Key key) { keys_.push_back(std::move(key)); }

const ObjectBase::Key* ObjectBase::find(std::string_view key) const noexcept {
  for (const Key& known : keys_) {
    if (known.name == key) return &known;
  }
  return nullptr;
}

void ObjectBase::report_unknown(const Node& key, Reader& reader) const {
  std::vector<std::string_view> names;
  for (const Key& known : keys_) {
    if (!known.later) names.push_back(known.name);
  }
  const std::string_view near =
      key.text().size() <= kSuggestBytesMax ? nearest(key.text(), names) : std::string_view{};
  std::string help;
  if (!near.empty()) {
    help = fmt::format("did you mean `{}`?", near);
  } else {
    help = names.empty() ? fmt::format("{} has no keys", name_)
                         : fmt::format("the keys of {} are ", name_);
    for (std::size_t i = 0; i < names.size(); ++i) {
      fmt::format_to(std::back_inserter(help), "{}`{}`", i == 0 ? "" : ", ", names[i]);
    }
  }
  reader.error(key.at(), fmt::format("unknown key {} in {}", shown(key.text()), name_),
               std::move(help));
}

bool ObjectBase::read_keys(const Node& node, void* object, Reader& reader) const {
  if (!node.is_mapping()) {
    detail::report_wrong_kind(node, *detail::object_shape(*this), reader);
    return false;
  }
  bool ok = true;
  std::vector<bool> seen(keys_.size());
  for (const Member& member : node.members()) {
    if (reader.full()) return false;
    const Key* key = find(member.key.text());
    if (key == nullptr) {
      report_unknown(member.key, reader);
      ok = false;
      continue;
    }
    seen[static_cast<std::size_t>(key - keys_.data())] = true;
    if (key->later) {
      reader.error(
          member.key.at(),
          fmt::format("`{}` ({}) is not built into this version yet, so it would do nothing",
                      key->name, key->doc),
          "remove it");
      ok = false;
    } else if (key->read) {
      const Reader::Step step(reader, key->name);
      ok = key->read(member.value, object, reader) && ok;
    }
  }
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (!keys_[i].required || seen[i]) continue;
    const std::string& example = keys_[i].shape->example;
    reader.error(
        node.at(), fmt::format("{} needs the key `{}`", name_, keys_[i].name),
        example.empty() ? keys_[i].doc : fmt::format("such as `{}: {}`", keys_[i].name, example));
    ok = false;
  }
  return ok;
}

void ObjectBase::set_absent(std::string meaning, std::function<bool(const void* object)> applies) {
  Key& key = keys_.back();
  key.absent = meaning;
  key.default_text = std::move(meaning);
  key.absent_applies = std::move(applies);
}

void ObjectBase::walk_keys(const void* object, const Node* node, Rows& rows) const {
  for (const Key& key : keys_) {
    if (!key.walk) continue;
    const bool applies = !key.absent_applies || key.absent_applies(object);
    rows.enter(key.name, applies ? std::string_view(key.absent) : "not set");
    key.walk(object, detail::member_of(node, key.name), rows);
    rows.leave();
  }
}

// ---- What the templates share ----

namespace detail {

namespace {

std::string such_as(const Shape& want) {
  return want.example.empty() ? std::string{} : fmt::format("write one such as `{}`", want.example);
}

}  // namespace

void report_out_of_range(const Node& node, Reader& reader) {
  reader.error(node.at(), fmt::format("{} is too large", shown(node.text())));
}

void report_wrong_kind(const Node& node, const Shape& want, Reader& reader) {
  const std::string found =
      node.is_scalar() ? shown(node.text()) : std::string(describe(node.kind()));
  reader.error(node.at(), fmt::format("expected {}, found {}", want.name, found),
               node.is_null() && want.form != Shape::Form::kObject
                   ? fmt::format("{}, or leave the key out", such_as(want))
                   : such_as(want));
}

void report_value(const Node& node, const Shape& want, std::string_view problem, Reader& reader) {
  reader.error(node.at(),
               fmt::format("{} is not valid as {}: {}", shown(node.text()), want.name, problem),
               such_as(want));
}

bool expect_scalar(const Node& node, const Shape& want, Reader& reader) {
  if (node.is_scalar()) return true;
  report_wrong_kind(node, want, reader);
  return false;
}

namespace {

bool expect_count(const Node& node, std::size_t count, const Shape& want, Reader& reader) {
  if (count < want.minimum.value_or(0)) {
    reader.error(node.at(), fmt::format("{} found, at least {} needed: this is {}", count,
                                        *want.minimum, want.name));
    return false;
  }
  if (want.maximum.has_value() && count > *want.maximum) {
    reader.error(node.at(), fmt::format("{} found, at most {} allowed: this is {}", count,
                                        *want.maximum, want.name));
    return false;
  }
  return true;
}

}  // namespace

bool expect_list(const Node& node, const Shape& want, Reader& reader) {
  if (!node.is_sequence()) {
    report_wrong_kind(node, want, reader);
    return false;
  }
  return expect_count(node, node.items().size(), want, reader);
}

bool expect_mapping(const Node& node, const Shape& want, Reader& reader) {
  if (!node.is_mapping()) {
    report_wrong_kind(node, want, reader);
    return false;
  }
  return expect_count(node, node.members().size(), want, reader);
}

bool expect_distinct_names(const Node& list, Reader& reader) {
  std::unordered_map<std::string_view, const Node*> seen;
  bool ok = true;
  for (const Node& item : list.items()) {
    const Node* name = item.find("name");
    if (name == nullptr || !name->is_scalar()) continue;  // reading the item says so
    const auto [first, is_new] = seen.try_emplace(name->text(), name);
    if (is_new) continue;
    reader.error(name->at(), fmt::format("the name {} is given twice", shown(name->text())),
                 fmt::format("the first is at {}", first->second->at().to_string()));
    ok = false;
  }
  return ok;
}

std::string item_segment(const Node* item, std::size_t index) {
  if (item != nullptr) {
    const Node* name = item->find("name");
    if (name != nullptr && name->is_scalar()) return std::string(name->text());
  }
  return std::to_string(index);
}

const Node* item_of(const Node* list, std::size_t index) {
  if (list == nullptr || index >= list->items().size()) return nullptr;
  return &list->items()[index];
}

const Node* member_of(const Node* mapping, std::string_view key) {
  return mapping == nullptr ? nullptr : mapping->find(key);
}

std::string yaml_scalar(std::string_view text) {
  static constexpr auto kPlain =
      ascii::CharSet("_-./:@+").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  const bool plain = !text.empty() && kPlain.contains_all(text) && ascii::is_alnum(text.front()) &&
                     text.back() != ':' && text.find(": ") == std::string_view::npos &&
                     !ascii::iequals(text, "null");
  return plain ? std::string(text) : json_quoted(text);
}

std::string flow_mapping(const std::vector<EffectiveRow>& rows) {
  std::string out = "{";
  for (const EffectiveRow& row : rows) {
    if (row.absent) continue;
    if (out.size() > 1) out += ", ";
    out += row.place + ": " + row.value;
  }
  return out + "}";
}

std::shared_ptr<const Shape> words_shape(std::vector<std::string> words) {
  auto shape = std::make_shared<Shape>();
  shape->form = Shape::Form::kWords;
  shape->name = words.size() == 1 ? "" : "one of ";
  for (std::size_t i = 0; i < words.size(); ++i) {
    fmt::format_to(std::back_inserter(shape->name), "{}`{}`", i == 0 ? "" : ", ", words[i]);
  }
  shape->example = words.empty() ? "" : words.front();
  shape->words = std::move(words);
  return shape;
}

void report_unknown_word(const Node& node, const Shape& want, Reader& reader) {
  const std::vector<std::string_view> known(want.words.begin(), want.words.end());
  const std::string_view near =
      node.text().size() <= kSuggestBytesMax ? nearest(node.text(), known) : std::string_view{};
  reader.error(node.at(), fmt::format("expected {}, found {}", want.name, shown(node.text())),
               near.empty() ? "" : fmt::format("did you mean `{}`?", near));
}

std::shared_ptr<const Shape> list_shape(std::shared_ptr<const Shape> item, std::size_t min,
                                        std::size_t max) {
  auto shape = std::make_shared<Shape>();
  shape->form = Shape::Form::kList;
  shape->name = min == 0 ? fmt::format("a list of up to {}: each {}", max, item->name)
                         : fmt::format("a list of {} to {}: each {}", min, max, item->name);
  shape->example = fmt::format("[{}]", item->example);
  shape->minimum = min;
  shape->maximum = max;
  shape->parts = {std::move(item)};
  return shape;
}

std::shared_ptr<const Shape> map_shape(const std::shared_ptr<const Shape>& key,
                                       std::shared_ptr<const Shape> value, std::size_t min,
                                       std::size_t max) {
  auto shape = std::make_shared<Shape>();
  shape->form = Shape::Form::kMap;
  shape->name = fmt::format("a mapping of {} to {}", key->name, value->name);
  shape->example = fmt::format("{{ {}: {} }}", key->example, value->example);
  shape->minimum = min;
  shape->maximum = max;
  shape->pattern = key->pattern;
  shape->parts = {std::move(value)};
  return shape;
}

std::shared_ptr<const Shape> one_of_shape(std::vector<std::shared_ptr<const Shape>> parts) {
  auto shape = std::make_shared<Shape>();
  shape->form = Shape::Form::kOneOf;
  for (const auto& part : parts) {
    if (!shape->name.empty()) shape->name += ", or ";
    shape->name += part->name;
  }
  shape->example = parts.front()->example;
  shape->parts = std::move(parts);
  return shape;
}

bool takes_scalars(const Shape& shape) {
  switch (shape.form) {
    case Shape::Form::kList:
    case Shape::Form::kMap:
    case Shape::Form::kObject:
      return false;
    case Shape::Form::kOneOf:
      return std::ranges::any_of(shape.parts,
                                 [](const auto& part) { return takes_scalars(*part); });
    case Shape::Form::kText:
    case Shape::Form::kInteger:
    case Shape::Form::kBoolean:
    case Shape::Form::kWords:
      return true;
  }
  return true;
}

std::shared_ptr<const Shape> object_shape(const ObjectBase& object) {
  auto shape = std::make_shared<Shape>();
  shape->form = Shape::Form::kObject;
  shape->name = fmt::format("a mapping ({})", object.name());
  shape->object = &object;
  std::string example;
  for (const ObjectBase::Key& key : object.keys()) {
    if (!key.required || key.shape->example.empty()) continue;
    fmt::format_to(std::back_inserter(example), "{}{}: {}", example.empty() ? "" : ", ", key.name,
                   key.shape->example);
  }
  if (!example.empty()) shape->example = fmt::format("{{ {} }}", example);
  return shape;
}

std::shared_ptr<const Shape> waivable_shape(const Shape& strict, const Shape& loose,
                                            std::string_view slug) {
  auto shape = std::make_shared<Shape>(loose);
  shape->name = fmt::format("{} (with a waiver of `{}`: {})", strict.name, slug, loose.name);
  shape->example = strict.example;
  return shape;
}

}  // namespace detail
}  // namespace merlon::config
