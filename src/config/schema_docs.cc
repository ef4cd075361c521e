#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ascii.h"
#include "config/schema.h"

/// Documentation out of schemas: JSON Schema and the reference page.
namespace merlon::config {
namespace {

using Json = nlohmann::ordered_json;

/// The fragment of a heading, as GitHub makes it.
std::string slug_of(std::string_view heading) {
  std::string out;
  for (const char c : heading) {
    if (ascii::is_alnum(c) || c == '-' || c == '_') {
      out += ascii::lower(c);
    } else if (c == ' ') {
      out += '-';
    }
  }
  return out;
}

/// Every object that a schema reaches, in order of first mention, each with a name of its own.
class Objects {
 public:
  explicit Objects(const ObjectBase& root) { visit(root); }

  [[nodiscard]] const std::vector<const ObjectBase*>& all() const noexcept { return order_; }
  [[nodiscard]] const std::string& name_of(const ObjectBase& object) const {
    return names_.at(&object);
  }

 private:
  void visit(const ObjectBase& object) {
    if (names_.contains(&object)) return;
    std::string name = object.name();
    for (int i = 2; !taken_.insert(slug_of(name)).second; ++i)
      name = fmt::format("{} {}", object.name(), i);
    names_.emplace(&object, name);
    order_.push_back(&object);
    for (const ObjectBase::Key& key : object.keys()) {
      if (key.shape != nullptr) visit(*key.shape);
    }
  }
  void visit(const Shape& shape) {
    if (shape.object != nullptr) visit(*shape.object);
    for (const auto& part : shape.parts) visit(*part);
  }

  std::unordered_map<const ObjectBase*, std::string> names_;
  std::set<std::string> taken_;  ///< by fragment
  std::vector<const ObjectBase*> order_;
};

Json schema_of(const Shape& shape, const Objects& objects);

void put_bounds(Json& out, const Shape& shape, const char* minimum, const char* maximum) {
  if (shape.minimum.value_or(0) > 0) out[minimum] = *shape.minimum;
  if (shape.maximum.has_value()) out[maximum] = *shape.maximum;
}

Json schema_of_text(const Shape& shape) {
  Json out;
  out["type"] = "string";
  if (!shape.pattern.empty()) out["pattern"] = shape.pattern;
  put_bounds(out, shape, "minLength", "maxLength");
  return out;
}

Json schema_of_list(const Shape& shape, const Objects& objects) {
  Json out;
  out["type"] = "array";
  out["items"] = schema_of(*shape.parts.front(), objects);
  put_bounds(out, shape, "minItems", "maxItems");
  return out;
}

Json schema_of_map(const Shape& shape, const Objects& objects) {
  Json out;
  out["type"] = "object";
  out["additionalProperties"] = schema_of(*shape.parts.front(), objects);
  if (!shape.pattern.empty()) out["propertyNames"] = {{"pattern", shape.pattern}};
  put_bounds(out, shape, "minProperties", "maxProperties");
  return out;
}

Json schema_of(const Shape& shape, const Objects& objects) {
  Json out;
  switch (shape.form) {
    case Shape::Form::kText:
      return schema_of_text(shape);
    case Shape::Form::kInteger:
      out["type"] = "integer";
      put_bounds(out, shape, "minimum", "maximum");
      return out;
    case Shape::Form::kBoolean:
      out["type"] = "boolean";
      return out;
    case Shape::Form::kWords:
      out["enum"] = shape.words;
      return out;
    case Shape::Form::kList:
      return schema_of_list(shape, objects);
    case Shape::Form::kMap:
      return schema_of_map(shape, objects);
    case Shape::Form::kObject:
      out["$ref"] = "#/$defs/" + slug_of(objects.name_of(*shape.object));
      return out;
    case Shape::Form::kOneOf:
      out["anyOf"] = Json::array();
      for (const auto& part : shape.parts) out["anyOf"].push_back(schema_of(*part, objects));
      return out;
  }
  return out;
}

Json schema_of_key(const ObjectBase::Key& key, const Objects& objects) {
  Json out = schema_of(*key.shape, objects);
  out["description"] = fmt::format("{} ({})", key.doc, key.shape->name);
  if (!key.shape->example.empty() && key.shape->form == Shape::Form::kText) {
    out["examples"] = {key.shape->example};
  }
  return out;
}

Json schema_of_object(const ObjectBase& object, const Objects& objects) {
  Json out;
  out["description"] = object.summary();
  out["type"] = "object";
  out["additionalProperties"] = false;
  Json required = Json::array();
  out["properties"] = Json::object();
  for (const ObjectBase::Key& key : object.keys()) {
    if (key.later) continue;
    out["properties"][key.name] = schema_of_key(key, objects);
    if (key.required) required.push_back(key.name);
  }
  if (!required.empty()) out["required"] = required;
  return out;
}

/// A text as the cell of a table.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

/// The type of a key with links to the sections of the objects that it mentions.
std::string type_cell(const Shape& shape, const Objects& objects) {
  switch (shape.form) {
    case Shape::Form::kObject: {
      const std::string& name = objects.name_of(*shape.object);
      return fmt::format("[{}](#{})", name, slug_of(name));
    }
    case Shape::Form::kList:
      return fmt::format("list ({} to {}) of {}", shape.minimum.value_or(0),
                         shape.maximum.value_or(0), type_cell(*shape.parts.front(), objects));
    case Shape::Form::kMap:
      return fmt::format("mapping of names to {}", type_cell(*shape.parts.front(), objects));
    case Shape::Form::kOneOf: {
      std::string out;
      for (const auto& part : shape.parts) {
        if (!out.empty()) out += " or ";
        out += type_cell(*part, objects);
      }
      return out;
    }
    case Shape::Form::kText:
    case Shape::Form::kInteger:
    case Shape::Form::kBoolean:
    case Shape::Form::kWords:
      break;
  }
  return cell(shape.name);
}

void append_row(std::string& out, const ObjectBase::Key& key, const Objects& objects) {
  std::string fallback = "required";
  if (!key.required) {
    fallback = key.default_text.empty() ? "" : fmt::format("`{}`", cell(key.default_text));
  }
  if (key.default_text == key.absent) fallback = cell(key.absent);
  fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} | {} |\n", key.name,
                 type_cell(*key.shape, objects), fallback, cell(key.doc));
}

void append_section(std::string& out, const ObjectBase& object, const Objects& objects) {
  fmt::format_to(std::back_inserter(out), "## {}\n\n{}\n\n", objects.name_of(object),
                 object.summary());
  out += "| key | value | default | what it does |\n|---|---|---|---|\n";
  std::string later;
  for (const ObjectBase::Key& key : object.keys()) {
    if (key.later) {
      fmt::format_to(std::back_inserter(later), "{}`{}` ({})", later.empty() ? "" : ", ", key.name,
                     key.doc);
    } else {
      append_row(out, key, objects);
    }
  }
  out += '\n';
  if (!later.empty()) {
    fmt::format_to(std::back_inserter(out),
                   "Keys that this version rejects because their features are not built yet: {}.\n"
                   "\n",
                   later);
  }
}

}  // namespace

std::string json_schema(const ObjectBase& root) {
  const Objects objects(root);
  Json out;
  out["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  out["title"] = objects.name_of(root);
  out.update(schema_of_object(root, objects));
  for (const ObjectBase* object : objects.all()) {
    if (object == &root) continue;
    out["$defs"][slug_of(objects.name_of(*object))] = schema_of_object(*object, objects);
  }
  return out.dump(2) + "\n";
}

std::string reference_markdown(const ObjectBase& root) {
  const Objects objects(root);
  std::string out;
  for (const ObjectBase* object : objects.all()) {
    append_section(out, *object, objects);
  }
  out.pop_back();
  return out;
}

}  // namespace merlon::config
