#include "audit/nginx/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <set>

#include "audit/nginx/directives.h"
#include "audit/nginx/exposure.h"
#include "audit/nginx/lexer.h"
#include "audit/nginx/model.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/unfilled.h"
#include "audit/nginx/variables.h"
#include "audit/template_text.h"

namespace merlon::audit::nginx {
namespace {

/// Where packages put the lines that load their modules, and nothing else.
bool is_module_list(std::string_view pattern) {
  const std::string_view folder = pattern.substr(0, std::min(pattern.rfind('/'), pattern.size()));
  return folder == "/usr/share/nginx/modules" || folder == "modules-enabled" ||
         folder.ends_with("/modules-enabled");
}

/// Files that nginx and its packages ship: what is in them is known, and holds nothing that rules
/// ask for.
bool is_stock_file(std::string_view pattern) {
  if (is_module_list(pattern)) return true;
  constexpr std::array<std::string_view, 9> kStock = {
      "mime.types",   "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params",
      "proxy_params", "koi-utf",        "koi-win",      "win-utf"};
  const std::size_t slash = pattern.rfind('/');
  const std::string_view file =
      slash == std::string_view::npos ? pattern : pattern.substr(slash + 1);
  return std::ranges::find(kStock, file) != kStock.end();
}

void report_problem(const Problem& problem, Inspection& inspection) {
  const auto add = [&](std::string_view rule, Level level, std::string message) {
    Finding finding;
    finding.rule = rule;
    finding.level = level;
    finding.at = problem.at;
    finding.message = std::move(message);
    inspection.out.findings.push_back(std::move(finding));
  };
  const auto gap = [&] {
    const std::string path = problem.at.source == nullptr ? "" : problem.at.source->path;
    inspection.out.gaps.push_back({problem.at, path, problem.what});
  };
  const bool stock = problem.directive != nullptr && problem.directive->is("include") &&
                     is_stock_file(problem.directive->arg(0));
  switch (problem.kind) {
    case Problem::Kind::kSyntax:
    case Problem::Kind::kMeaning:
    case Problem::Kind::kRefused:
      add("CFG-01", Level::kHigh, problem.what);
      gap();
      return;
    case Problem::Kind::kInclude:
      add("CFG-02", stock ? Level::kInfo : Level::kLow, problem.what);
      if (!stock) gap();
      return;
    case Problem::Kind::kIncludeEmpty:
      add("CFG-02", Level::kInfo, problem.what);
      return;
  }
}

/// Each problem; those of a template as one, since none of them is a mistake.
void report_problems(Inspection& inspection) {
  std::set<const Source*> templates;
  for (const Problem& problem : inspection.model.tree.problems) {
    const bool include =
        problem.kind == Problem::Kind::kInclude || problem.kind == Problem::Kind::kIncludeEmpty;
    const Source* source = problem.at.source.get();
    std::string hint = include || source == nullptr ? "" : template_hint(source->text);
    if (hint.empty()) {
      report_problem(problem, inspection);
    } else if (templates.insert(source).second) {
      Problem one = problem;
      one.what = std::move(hint);
      report_problem(one, inspection);
    }
  }
  for (const Unfilled& one : unfilled_places(inspection.model)) {
    if (!templates.insert(one.at->file.get()).second) continue;
    report_problem({.kind = Problem::Kind::kMeaning,
                    .at = one.at->mark(*one.word),
                    .what = fmt::format("it is a template (by its \"{}\"): render it, then audit "
                                        "what comes out",
                                        one.name)},
                   inspection);
  }
}

/// A stock file that is missing hides no setting: its block counts as whole all the same.
void forgive_stock_includes(Model& model) {
  for (const Problem& problem : model.tree.problems) {
    if (problem.kind != Problem::Kind::kInclude || problem.directive == nullptr) continue;
    if (!problem.directive->is("include") || !is_stock_file(problem.directive->arg(0))) continue;
    Directive* parent = problem.directive->parent;
    const bool others = std::ranges::any_of(model.tree.problems, [&](const Problem& other) {
      return &other != &problem && other.directive != nullptr &&
             other.directive->parent == parent && other.kind == Problem::Kind::kInclude &&
             !is_stock_file(other.directive->arg(0));
    });
    if (!others) parent->incomplete = false;
  }
}

void count(const Model& model, AuditResult& out) {
  out.counts.files += model.tree.files.size();
  for (const auto& file : model.tree.files) {
    out.counts.lines += static_cast<std::uint64_t>(std::ranges::count(file->text, '\n'));
    if (!file->text.empty() && !file->text.ends_with('\n')) ++out.counts.lines;
    out.sources.push_back(file);
  }
  out.counts.directives += model.tree.statements;
  out.counts.includes += model.tree.includes;
  out.counts.unknown_directives += model.unknown.size();
  for (const std::string_view name : model.unknown) out.unknown_directives.emplace_back(name);
}

SyntaxLimits limits_of(const Options& options) {
  SyntaxLimits limits;
  limits.depth_max = options.depth_max;
  limits.include_depth_max = std::min(options.depth_max, limits.include_depth_max);
  limits.includes_max = options.includes_max;
  return limits;
}

}  // namespace

bool looks_like_nginx(std::string_view text) {
  if (is_dump(text)) return true;
  constexpr std::size_t kBytesLooked = 64 * 1024;
  std::deque<std::string> pool;
  Lexer lexer(text.substr(0, kBytesLooked), pool);
  std::vector<Word> words;
  std::size_t known = 0;
  std::size_t total = 0;
  bool in_data = false;  // the entries of a map or of types are no directives
  for (std::size_t i = 0; i < 2000; ++i) {
    const Lexer::End end = lexer.next(words);
    if (end == Lexer::End::kText) break;
    if (end == Lexer::End::kBlockCloses) in_data = false;
    if (words.empty() || in_data) continue;
    const std::string_view name = words.front().text;
    Directive block;
    block.name = words.front();
    in_data = end == Lexer::End::kBlockOpens && context_inside(kHttp, block) == kData;
    ++total;
    known += is_known(name) && takes_arguments(name, words.size() - 1);
    std::string_view raw;
    if (end == Lexer::End::kBlockOpens && holds_lua(name)) lexer.lua_block(raw);
  }
  return known > 0 && known * 2 >= total;
}

bool holds_nothing(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::size_t first = text.substr(0, end).find_first_not_of(" \t\r");
    if (first != std::string_view::npos && text[first] != '#') return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

void audit_file(const std::shared_ptr<const Source>& main, const std::vector<std::string>& bases,
                FileReader& files, const Options& options, bool on_disk,
                std::set<std::string>& reached, AuditResult& out) {
  Model model;
  DumpIncludes dump;
  DiskIncludes disk(files, bases);
  NoIncludes none;
  const bool dumped = is_dump(main->text) && dump.load(main->text);
  IncludeFinder* includes = &none;
  if (!bases.empty()) includes = &disk;
  if (dumped) includes = &dump;
  parse(model.tree, dumped ? dump.main() : main, *includes, limits_of(options));
  const std::uint32_t frame = guess_frame(model.tree);
  if (frame == kNowhere && !holds_nothing(main->text)) {
    out.gaps.push_back({{}, main->path, "nothing of nginx's language was found in it"});
  }
  model.tree.root.inside = frame == kNowhere ? std::uint32_t{kMain} : frame;
  check_directives(model.tree, model.unknown);
  forgive_stock_includes(model);
  build_model(model);
  const Variables variables(model);
  const std::int64_t now = judged_at(options);
  Inspection inspection{model, variables, options, files, out, now, on_disk && !dumped};
  const std::size_t first = out.findings.size();
  report_problems(inspection);
  run_rules(inspection);
  fill_remedies(out, first, Kind::kNginx);
  map_exposure(inspection);
  count(model, out);
  for (const auto& file : model.tree.files) reached.insert(file->path);
}

}  // namespace merlon::audit::nginx
