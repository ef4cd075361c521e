#include "config/tree.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::config {
namespace {

std::shared_ptr<const Source> source_of(std::string text) {
  return std::make_shared<Source>(Source{.path = "m.yaml", .text = std::move(text)});
}

struct Parsed {
  Diagnostics out;
  std::shared_ptr<const Tree> tree;
};

Parsed parse(std::string text, const ParseOptions& options = {}) {
  Parsed parsed;
  parsed.tree = Tree::parse(source_of(std::move(text)), options, parsed.out);
  return parsed;
}

TEST(Tree, KeepsKindsTextsAndPlaces) {
  const Parsed p = parse("a: [1, 'two', {x: y}]\nb:\n  c: ~\n  d: |\n    line\n");
  ASSERT_NE(p.tree, nullptr);
  const Node& root = p.tree->root();
  ASSERT_EQ(root.members().size(), 2U);
  const Node* a = root.find("a");
  ASSERT_NE(a, nullptr);
  ASSERT_EQ(a->items().size(), 3U);
  EXPECT_EQ(a->at().to_string(), "m.yaml:1:4");
  EXPECT_FALSE(a->items()[0].quoted());
  EXPECT_TRUE(a->items()[1].quoted());
  EXPECT_EQ(a->items()[1].text(), "two");
  EXPECT_EQ(a->items()[1].at().length, 5U);
  EXPECT_EQ(a->items()[2].find("x")->text(), "y");
  EXPECT_TRUE(root.find("b")->find("c")->is_null());
  EXPECT_EQ(root.find("b")->find("d")->text(), "line\n");
  EXPECT_TRUE(root.find("b")->find("d")->quoted());
  EXPECT_EQ(root.find("nothing"), nullptr);
}

TEST(Tree, CaretsStandUnderTheRightByteAfterUmlauts) {
  const Parsed p =
      parse("\xEF\xBB\xBF# \xC3\xA4\nk\xC3\xA4se: \"\xE2\x82\xAC\"   \nz: [\xC3\xA4, q]\n");
  ASSERT_NE(p.tree, nullptr);
  EXPECT_EQ(p.tree->root().find("k\xC3\xA4se")->at().to_string(), "m.yaml:2:8");
  EXPECT_EQ(p.tree->root().find("z")->items()[1].at().to_string(), "m.yaml:3:9");
}

TEST(Tree, AnEmptyFileIsANullAtItsStart) {
  for (const char* text : {"", "\n", "# only words\n", "---\n", "~"}) {
    const Parsed p = parse(text);
    ASSERT_NE(p.tree, nullptr) << text;
    EXPECT_TRUE(p.tree->root().is_null()) << text;
    EXPECT_TRUE(p.tree->root().at().known()) << text;
  }
}

struct Refusal {
  const char* name;
  const char* text;
  const char* at;       // "line:column" of the first error
  const char* message;  // part of it
};

constexpr Refusal kRefusals[] = {
    {"duplicate_key", "a: 1\nb: 2\na: 3\n", "3:1", "`a` is given twice"},
    {"duplicate_after_unquoting", "a: 1\n\"a\": 3\n", "2:1", "`a` is given twice"},
    {"anchor", "a: &x 1\n", "1:4", "anchors are not part"},
    {"alias", "a: &x 1\nb: *x\n", "1:4", "anchors are not part"},
    {"tag", "a: !!int 1\n", "1:4", "tags are not part"},
    {"python_object_tag", "a: !!python/object:os.system x\n", "1:4", "tags are not part"},
    {"merge_key", "a: {<<: {b: 1}}\n", "1:5", "merge keys are not part"},
    {"second_document", "a: 1\n---\nb: 2\n", "2:1", "second document"},
    {"list_as_key", "[a, b]: 1\n", "1:1", "a key must be a word, not a list"},
    {"mapping_as_key", "? {a: 1}\n: 2\n", "1:3", "a key must be a word, not a mapping"},
    {"missing_key", "\"\": 2\n", "1:1", "a key is missing"},
    {"tab_as_indentation", "a:\n\tb: 1\n", "2:1", "a tab is used as indentation"},
    {"text_that_needs_quotes", "a: @b\n", "1:4", "text may not start like this"},
    {"mapping_in_a_scalar", "a: b: c\n", "1:5", "a `:` is not expected here"},
    {"braces_in_text", "a: { b: /x/{id} }\n", "1:12", "may not contain `{`"},
    {"brackets_in_text", "a: [b, x[1]]\n", "1:9", "may not contain `[`"},
    {"braces_without_a_comma", "a: [b {c: d}]\n", "1:7", "this list is not closed"},
    {"colon_at_the_start", "a: [127.0.0.1, ::1]\n", "1:16", "a value may not start like this"},
    {"star_at_the_start", "a: *.example.com\n", "1:5", "may not start with `*` or `&`"},
    {"open_list", "a: [1, 2\nb: 3\n", "2:2", "this list is not closed"},
    {"open_quotes", "a: \"b\nc: d\n", "3:1", "the file ends within quotes"},
    {"wrong_indentation", "a:\n  b: 1\n c: 2\n", "3:2", "expected a `key:` here"},
    {"bad_escape", "a: \"\\q\"\n", "1:5", "this escape does not exist"},
    {"not_utf8", "a: b\nc: \"\xFF\"\n", "2:5", "byte 0xff is not UTF-8"},
    {"control_character", "a: \x01\n", "1:4", "control character U+0001"},
    {"utf16",
     "\xFF\xFE"
     "a",
     "1:1", "UTF-16"},
};

class TreeRefuses : public testing::TestWithParam<Refusal> {};
TEST_P(TreeRefuses, WithTheReasonAtThePlace) {
  const Parsed p = parse(GetParam().text);
  ASSERT_FALSE(p.out.ok());
  const Diagnostic& first = p.out.all().front();
  EXPECT_EQ(first.at.to_string(), std::string("m.yaml:") + GetParam().at) << p.out.render();
  EXPECT_NE(first.message.find(GetParam().message), std::string::npos) << p.out.render();
}
INSTANTIATE_TEST_SUITE_P(Language, TreeRefuses, testing::ValuesIn(kRefusals),
                         [](const auto& test) { return test.param.name; });

TEST(Tree, NamesBothPlacesOfADuplicateAndGoesOn) {
  Parsed p = parse("a: 1\na: 2\nb: &x 1\nc: !t 2\n");
  ASSERT_NE(p.tree, nullptr);
  EXPECT_EQ(p.out.error_count(), 3U);
  p.out.sort();
  EXPECT_EQ(p.out.all().front().at.line, 2U);
  EXPECT_NE(p.out.all().front().help.find("m.yaml:1:1"), std::string::npos);
  EXPECT_EQ(p.tree->root().find("a")->text(), "1");
  EXPECT_EQ(p.tree->root().members().size(), 3U);
}

TEST(Tree, FindsDuplicatesInLargeMappingsToo) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "k" + std::to_string(i % 90) + ": 1\n";
  const Parsed p = parse(text);
  EXPECT_EQ(p.out.error_count(), 10U);
  EXPECT_EQ(p.tree->root().members().size(), 90U);
}

TEST(Tree, BoundsDepth) {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  EXPECT_TRUE(parse(nested(64)).out.ok());
  EXPECT_FALSE(parse(nested(65)).out.ok());
  EXPECT_FALSE(parse(std::string(1'000'000, '[')).out.ok());
  EXPECT_FALSE(parse(std::string(1'000'000, '{')).out.ok());
  std::string stairs;
  for (std::size_t i = 0; i < 200; ++i) stairs += std::string(i, ' ') + "a:\n";
  EXPECT_FALSE(parse(stairs).out.ok());
}

TEST(Tree, BoundsBytesAndNodes) {
  EXPECT_FALSE(parse("a: 123456789", {.bytes_max = 8}).out.ok());
  EXPECT_FALSE(parse("[1, 2, 3]", {.nodes_max = 3}).out.ok());
  EXPECT_TRUE(parse("[1, 2, 3]", {.nodes_max = 4}).out.ok());
}

constexpr ParseOptions kGeneric{.allow_aliases = true, .allow_tags = true, .allow_documents = true};

TEST(GenericYaml, HasAliasesTagsDocumentsAndJson) {
  const Parsed p =
      parse("base: &b {x: 1, y: [2]}\nuse: *b\n<<: *b\nt: !!str 5\n---\n{\"json\": [true, null]}\n",
            kGeneric);
  ASSERT_TRUE(p.out.ok()) << p.out.render();
  ASSERT_EQ(p.tree->documents().size(), 2U);
  EXPECT_EQ(p.tree->root().find("use")->find("y")->items()[0].text(), "2");
  EXPECT_EQ(p.tree->root().find("use")->at().line, 1U);
  EXPECT_TRUE(p.tree->root().find("t")->quoted());
  EXPECT_TRUE(p.tree->documents()[1].find("json")->items()[1].is_null());
}

TEST(GenericYaml, RefusesTheBillionLaughs) {
  std::string bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 9; ++j) bomb += (j == 0 ? "*a" : ", *a") + last;
    bomb += "]\n";
  }
  const Parsed p = parse(bomb, kGeneric);
  EXPECT_EQ(p.tree, nullptr);
  ASSERT_EQ(p.out.error_count(), 1U);
  EXPECT_NE(p.out.all()[0].message.find("aliases counted"), std::string::npos);
}

// libyaml takes quadratic time for them.
TEST(GenericYaml, BoundsTagDirectives) {
  const auto directives = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "%TAG !" + std::to_string(i) + "! tag:x\n";
    return text + "--- a\n";
  };
  EXPECT_TRUE(parse(directives(64), kGeneric).out.ok());
  EXPECT_FALSE(parse(directives(65), kGeneric).out.ok());
}

TEST(GenericYaml, RefusesAliasesOfThemselvesAndOfNothing) {
  EXPECT_FALSE(parse("a: &a [*a]\n", kGeneric).out.ok());
  EXPECT_FALSE(parse("a: *nowhere\n", kGeneric).out.ok());
  EXPECT_FALSE(parse("a: &a 1\n---\nb: *a\n", kGeneric).out.ok());  // anchors end with a document
}

TEST(GenericYaml, BoundsTheDepthThatAliasesMake) {
  std::string text = "a0: &a0 [1]\n";
  for (int i = 1; i < 100; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) +
            "]\n";
  }
  const Parsed p = parse(text, kGeneric);
  ASSERT_EQ(p.out.error_count(), 1U);
  EXPECT_NE(p.out.all()[0].message.find("inside each other"), std::string::npos);
}

TEST(Tree, CutAtEveryByteIsATreeOrAnError) {
  const std::string text =
      "version: 1\nroutes:\n  - name: \"\xC3\xA4 \\u00e4\"\n    match: { host: 'a', path: /x/** }\n"
      "    list: [1, [2, {a: b}], &x y, *x, !t z]\n    block: >-\n      folded\n      text\n? q\n: "
      "r\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    for (const ParseOptions& options : {ParseOptions{}, kGeneric}) {
      const Parsed p = parse(text.substr(0, cut), options);
      EXPECT_TRUE(p.tree != nullptr || !p.out.ok()) << cut;
      for (const Diagnostic& d : p.out.all()) EXPECT_TRUE(d.at.known()) << cut << d.message;
      EXPECT_FALSE(p.out.render().empty() && !p.out.ok());
    }
  }
}

TEST(Resolve, EntersKeysNamesAndNumbers) {
  const Parsed p = parse(
      "routes:\n  - name: orders\n    limit: {rate: 1}\n  - name: a.b\n    x: [p, q]\n"
      "upstreams: {api.example.com: {port: 1}, api: {z: 2}}\n");
  const Node& root = p.tree->root();
  const auto text_at = [&](std::string_view place) {
    const Node* node = resolve(root, place);
    return node == nullptr ? std::string("-") : std::string(node->text());
  };
  EXPECT_EQ(text_at("routes.orders.limit.rate"), "1");
  EXPECT_EQ(text_at("routes.a.b.x.1"), "q");
  EXPECT_EQ(text_at("upstreams.api.example.com.port"), "1");
  EXPECT_EQ(text_at("upstreams.api.z"), "2");
  for (const char* none : {"", ".", "routes.", "routes.0", "routes.orders.limits", "x",
                           "upstreams..z", "routes.orders.limit.rate.more"}) {
    EXPECT_EQ(resolve(root, none), nullptr) << none;
  }
}

}  // namespace
}  // namespace merlon::config
