#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "config/tree.h"

namespace merlon::config {
namespace {

/// Files in memory, as a broker would hand them over.
using Files = std::map<std::string, std::string>;

ReadFile reader_of(const Files& files) {
  return [&files](const std::string& path) -> std::expected<std::string, std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return std::unexpected("there is no such file");
    return found->second;
  };
}

TEST(Include, ConcatenatesListsAndUnitesMappings) {
  const Files files = {
      {"/etc/m/main.yaml", "version: 1\ninclude: [routes/a.yaml, b.yaml]\nroutes: [r0]\n"},
      {"/etc/m/routes/a.yaml", "routes: [r1]\nupstreams: {u1: 1}\ninclude: [routes/c.yaml]\n"},
      {"/etc/m/b.yaml", "routes: [r2]\nupstreams: {u2: 1}\n"},
      {"/etc/m/routes/c.yaml", "upstreams: {u3: 1}\nlimits: {x: 1}\n"},
  };
  Diagnostics out;
  const auto tree = load("/etc/m/main.yaml", out, reader_of(files));
  ASSERT_TRUE(out.ok()) << out.render();
  const Node& root = tree->root();
  EXPECT_EQ(root.find("include"), nullptr);
  ASSERT_EQ(root.find("routes")->items().size(), 3U);
  EXPECT_EQ(root.find("routes")->items()[2].text(), "r2");
  EXPECT_EQ(root.find("routes")->items()[2].at().file_line(), "/etc/m/b.yaml:1");
  EXPECT_EQ(root.find("upstreams")->members().size(), 3U);
  EXPECT_EQ(tree->sources().size(), 4U);
}

struct Refusal {
  const char* name;
  Files files;  // the main file is "m.yaml"
  const char* at;
  const char* message;
  const char* help;
};

const Refusal kRefusals[] = {
    {"scalar_in_two_files",
     {{"m.yaml", "version: 1\ninclude: [a.yaml]\n"}, {"a.yaml", "version: 1\n"}},
     "a.yaml:1:1",
     "`version` is given in two files",
     "m.yaml:1:1"},
    {"key_of_a_mapping_in_two_files",
     {{"m.yaml", "up: {u: 1}\ninclude: [a.yaml]\n"}, {"a.yaml", "up: {u: 2}\n"}},
     "a.yaml:1:6",
     "`u` is given twice",
     "m.yaml:1:6"},
    {"list_and_mapping",
     {{"m.yaml", "up: [u]\ninclude: [a.yaml]\n"}, {"a.yaml", "up: {u: 2}\n"}},
     "a.yaml:1:1",
     "given in two files",
     "m.yaml:1:1"},
    {"itself", {{"m.yaml", "include: [m.yaml]\n"}}, "m.yaml:1:11", "included twice", "main file"},
    {"loop",
     {{"m.yaml", "include: [a.yaml]\n"},
      {"a.yaml", "include: [b.yaml]\n"},
      {"b.yaml", "include: [a.yaml]\n"}},
     "b.yaml:1:11",
     "included twice",
     "m.yaml:1:11"},
    {"parent_directory",
     {{"m.yaml", "include: [../x.yaml]\n"}},
     "m.yaml:1:11",
     "cannot be included",
     "`..`"},
    {"parent_inside",
     {{"m.yaml", "include: [a/../../x.yaml]\n"}},
     "m.yaml:1:11",
     "cannot be included",
     "`..`"},
    {"absolute",
     {{"m.yaml", "include: [/etc/passwd]\n"}},
     "m.yaml:1:11",
     "cannot be included",
     "below the directory of the main file"},
    {"same_file_by_another_name",
     {{"m.yaml", "include: [./m.yaml]\n"}},
     "m.yaml:1:11",
     "cannot be included",
     "`..`"},
    {"missing", {{"m.yaml", "include: [a.yaml]\n"}}, "m.yaml:1:11", "no such file", ""},
    {"not_a_list", {{"m.yaml", "include: a.yaml\n"}}, "m.yaml:1:10", "is a list of file names", ""},
    {"not_a_name", {{"m.yaml", "include: [{a: b}]\n"}}, "m.yaml:1:11", "expected a file name", ""},
    {"empty",
     {{"m.yaml", "include: [a.yaml]\n"}, {"a.yaml", "# nothing\n"}},
     "a.yaml:1:1",
     "expected a mapping",
     ""},
};

class IncludeRefuses : public testing::TestWithParam<Refusal> {};
TEST_P(IncludeRefuses, NamingThePlace) {
  Diagnostics out;
  const auto tree = load("m.yaml", out, reader_of(GetParam().files));
  ASSERT_NE(tree, nullptr);
  ASSERT_EQ(out.error_count(), 1U) << out.render();
  const Diagnostic& error = out.all().front();
  EXPECT_NE(error.message.find(GetParam().message), std::string::npos) << out.render();
  EXPECT_NE(error.help.find(GetParam().help), std::string::npos) << out.render();
  EXPECT_EQ(error.at.to_string().substr(0, std::string(GetParam().at).size()), GetParam().at);
}
INSTANTIATE_TEST_SUITE_P(Load, IncludeRefuses, testing::ValuesIn(kRefusals),
                         [](const auto& test) { return test.param.name; });

TEST(Include, BoundsTheNumberOfFiles) {
  Files files;
  for (int i = 0; i < 400; ++i) {
    files["f" + std::to_string(i)] = "include: [f" + std::to_string(i + 1) + "]\n";
  }
  Diagnostics out;
  static_cast<void>(load("f0", out, reader_of(files)));
  ASSERT_EQ(out.error_count(), 1U);
  EXPECT_NE(out.all()[0].message.find("more than 256 files"), std::string::npos);
}

TEST(Include, ReportsTheErrorsOfEveryFile) {
  const Files files = {{"m.yaml", "a: 1\na: 2\ninclude: [x.yaml, y.yaml, z.yaml]\n"},
                       {"x.yaml", "b: [\n"},
                       {"z.yaml", "c: &q 1\n"}};
  Diagnostics out;
  const auto tree = load("m.yaml", out, reader_of(files));
  ASSERT_NE(tree, nullptr);
  EXPECT_EQ(out.error_count(), 4U) << out.render();
  EXPECT_NE(tree->root().find("c"), nullptr);
}

/// A directory that goes with the test.
class FilesOnDisk : public testing::Test {
 protected:
  FilesOnDisk() {
    std::string pattern = testing::TempDir() + "merlon_load_XXXXXX";
    if (::mkdtemp(pattern.data()) != nullptr) directory_ = pattern;
  }
  ~FilesOnDisk() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(
        std::filesystem::path(directory_ + "/" + name).parent_path());
    std::ofstream(directory_ + "/" + name) << text;
  }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }

  std::string directory_;
};

TEST_F(FilesOnDisk, AreLoadedWithTheirIncludes) {
  write("conf/m.yaml", "a: 1\ninclude: [sub/b.yaml, link.yaml]\n");
  write("conf/sub/b.yaml", "b: 2\n");
  write("conf/real.yaml", "c: 3\n");
  ASSERT_EQ(::symlink("real.yaml", path("conf/link.yaml").c_str()), 0);
  Diagnostics out;
  const auto tree = load(path("conf/m.yaml"), out);
  ASSERT_TRUE(out.ok()) << out.render();
  EXPECT_EQ(tree->root().find("b")->text(), "2");
  EXPECT_EQ(tree->root().find("c")->text(), "3");
}

TEST_F(FilesOnDisk, MayNotLeadOutOfTheDirectory) {
  write("outside.yaml", "secret: 1\n");
  write("conf/m.yaml", "include: [link.yaml, absolute.yaml, dir/outside.yaml]\n");
  ASSERT_EQ(::symlink("../outside.yaml", path("conf/link.yaml").c_str()), 0);
  ASSERT_EQ(::symlink(path("outside.yaml").c_str(), path("conf/absolute.yaml").c_str()), 0);
  ASSERT_EQ(::symlink("..", path("conf/dir").c_str()), 0);
  Diagnostics out;
  const auto tree = load(path("conf/m.yaml"), out);
  EXPECT_EQ(out.error_count(), 3U) << out.render();
  EXPECT_EQ(tree->root().find("secret"), nullptr);
  for (const Diagnostic& d : out.all()) {
    EXPECT_NE(d.message.find("leads out of the directory"), std::string::npos) << d.message;
  }
}

TEST_F(FilesOnDisk, MustBeRegularAndBounded) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  write("big", std::string(16UL * 1024 * 1024 + 1, ' '));
  for (const std::string& name :
       {path("fifo"), path("big"), path("none"), path("."), std::string("/dev/zero")}) {
    EXPECT_FALSE(read_regular_file(name).has_value()) << name;
    Diagnostics out;
    EXPECT_EQ(load(name, out), nullptr) << name;
    EXPECT_EQ(out.error_count(), 1U) << name;
  }
}

TEST(DirectoryOf, IsWhatPrecedesTheLastSlash) {
  EXPECT_EQ(directory_of("m.yaml"), ".");
  EXPECT_EQ(directory_of("/m.yaml"), "/");
  EXPECT_EQ(directory_of("a/b/m.yaml"), "a/b");
}

}  // namespace
}  // namespace merlon::config
