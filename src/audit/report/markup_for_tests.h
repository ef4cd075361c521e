#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

/// Reads XML, and HTML as our writer makes it: every element closed but the empty ones, every
/// attribute in double quotes. What breaks these rules fails the test. For tests only.
namespace merlon::audit::report {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
};

class Markup {
 public:
  explicit Markup(std::string_view text, std::set<std::string> empty = {})
      : rest_(text), empty_(std::move(empty)) {
    while (!rest_.empty() && !testing::Test::HasFailure()) step();
    EXPECT_TRUE(open_.empty()) << "not closed: " << (open_.empty() ? "" : open_.back());
  }

  std::vector<Element> elements;
  std::string text;  ///< of all elements, with the references resolved

  [[nodiscard]] std::size_t count(std::string_view name) const {
    std::size_t out = 0;
    for (const Element& element : elements) out += element.name == name ? 1U : 0U;
    return out;
  }

 private:
  void step() {
    if (rest_[0] == '<') return tag();
    const std::size_t end = std::min(rest_.find('<'), rest_.size());
    const std::string_view raw = rest_.substr(0, end);
    EXPECT_EQ(raw.find("]]>"), std::string_view::npos);
    text += resolved(raw);
    rest_.remove_prefix(end);
  }

  void tag() {
    const std::size_t end = rest_.find('>');
    ASSERT_NE(end, std::string_view::npos);
    std::string_view inside = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    if (inside.starts_with("?xml") || inside.starts_with("!DOCTYPE")) return;
    if (inside.starts_with('/')) return close(std::string(inside.substr(1)));
    const bool closed = inside.ends_with('/');
    if (closed) inside.remove_suffix(1);
    Element element;
    element.name = word(inside);
    while (!inside.empty() && !testing::Test::HasFatalFailure()) attribute(inside, element);
    if (!closed && !empty_.contains(element.name)) open_.push_back(element.name);
    if (element.name == "style")
      rest_.remove_prefix(std::min(rest_.find("</style>"), rest_.size()));
    elements.push_back(std::move(element));
  }

  void close(const std::string& name) {
    ASSERT_FALSE(open_.empty()) << name;
    EXPECT_EQ(open_.back(), name);
    open_.pop_back();
  }

  static std::string word(std::string_view& text) {
    const std::size_t end = std::min(text.find_first_of(" ="), text.size());
    std::string out(text.substr(0, end));
    EXPECT_EQ(out.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos)
        << out;
    text.remove_prefix(end);
    return out;
  }

  static void attribute(std::string_view& text, Element& element) {
    while (text.starts_with(' ') || text.starts_with('\n')) text.remove_prefix(1);
    if (text.empty()) return;
    const std::string name = word(text);
    ASSERT_TRUE(text.starts_with("=\"")) << name;
    const std::size_t end = text.find('"', 2);
    ASSERT_NE(end, std::string_view::npos) << name;
    const std::string_view value = text.substr(2, end - 2);
    EXPECT_EQ(value.find('<'), std::string_view::npos);
    element.attributes[name] = resolved(value);
    text.remove_prefix(end + 1);
  }

  static std::string resolved(std::string_view text) {
    static const std::map<std::string_view, char> kReferences = {
        {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"#39", '\''}};
    std::string out;
    while (!text.empty()) {
      if (text[0] != '&') {
        out += text[0];
        text.remove_prefix(1);
        continue;
      }
      const std::size_t end = std::min(text.find(';'), text.size() - 1);
      const auto found = kReferences.find(text.substr(1, end - 1));
      EXPECT_NE(found, kReferences.end()) << text.substr(0, end + 1);
      if (found != kReferences.end()) out += found->second;
      text.remove_prefix(end + 1);
    }
    return out;
  }

  std::string_view rest_;
  std::set<std::string> empty_;
  std::vector<std::string> open_;
};

}  // namespace merlon::audit::report
