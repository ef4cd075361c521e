#include "gateway/load.h"

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <set>

#include "gateway/digest.h"
#include "gateway/policy_files.h"
#include "tls/client_context.h"

namespace merlon::gateway {
namespace {

using config::Node;
using config::Reader;

constexpr std::size_t kFileBytesMax = 16UL * 1024 * 1024;  // as config::ParseOptions has it
constexpr std::uint32_t kWritableByOthers = 0002;

/// Reads again, item by item and silently, what stands in a list or mapping of which some item was
/// wrong: the good ones are judged too, so that all errors come out at once.
class Recovery {
 public:
  Recovery(const Node& root, Reader& reader)
      : root_(root), quiet_(ignored_, reader.directory(), reader.waivers()) {}

  void listeners(Config& config) {
    config.listeners = items<ListenerConfig>("listeners", listener_schema());
  }
  void routes(Config& config) { config.routes = items<RouteConfig>("routes", route_schema()); }
  void upstreams(Config& config) {
    const Reader::Step step(quiet_, "upstreams");
    const Node* map = root_.find("upstreams");
    if (map == nullptr) return;
    for (const config::Member& member : map->members()) {
      const Reader::Step here(quiet_, member.key.text());
      UpstreamConfig value;
      if (read(upstream_schema(), member.value, value)) {
        config.upstreams.insert_or_assign(std::string(member.key.text()), std::move(value));
      } else {
        unread_.insert(fmt::format("upstreams.{}", member.key.text()));
      }
    }
  }

  /// A waiver of a part that could not be read might waive something: nothing is said about it.
  void excuse(config::Waivers& waivers) const {
    for (const config::Waiver* waiver : waivers.unused()) {
      for (const std::string& place : unread_) {
        if (waiver->on != place && !waiver->on.starts_with(place + ".")) continue;
        static_cast<void>(waivers.allows(waiver->rule, waiver->on));
      }
    }
  }

 private:
  template <class T>
  std::vector<T> items(std::string_view key, const config::Object<T>& schema) {
    std::vector<T> values;
    const Reader::Step step(quiet_, key);
    const Node* list = root_.find(key);
    if (list == nullptr) return values;
    for (const Node& item : list->items()) {
      const Node* name = item.find("name");
      const std::string_view segment = name == nullptr ? "" : name->text();
      const Reader::Step here(quiet_, segment);
      T value;
      if (read(schema, item, value)) {
        values.push_back(std::move(value));
      } else {
        unread_.insert(fmt::format("{}.{}", key, segment));
      }
    }
    return values;
  }

  template <class T>
  bool read(const config::Object<T>& schema, const Node& node, T& value) {
    ignored_ = Diagnostics{};  // a reader that is full reads no more
    return schema.read(node, value, quiet_);
  }

  const Node& root_;
  Diagnostics ignored_;
  Reader quiet_;
  std::set<std::string, std::less<>> unread_;
};

/// Of the configuration's text, and of the files that say what is let through, as they were read.
std::string hash_of(const config::Tree& tree, const ReadWitness* files) {
  Digest digest;
  for (const auto& source : tree.sources()) digest.add(source->text);
  if (files != nullptr) files->add_to(digest);
  return digest.hex();
}

/// Whoever may write what says what is let through decides about it.
void judge_file_mode(const std::string& path, const Mark& at, io::Broker& broker,
                     Diagnostics& out) {
  const auto status = broker.status(path);
  if (!status.has_value() || (status->mode & kWritableByOthers) == 0) return;
  out.add({.severity = Severity::kError,
           .at = at,
           .message = fmt::format("`{}` can be written by every user of this host", path),
           .help = fmt::format("chmod o-w {}", path),
           .rule = "config-writable"});
}

void judge_file_modes(const config::Tree& tree, io::Broker& broker, Diagnostics& out) {
  for (const auto& source : tree.sources())
    judge_file_mode(source->path, {.source = source, .line = 1, .column = 1}, broker, out);
}

/// What the gateway writes, or puts a socket in the place of, must be none of what it reads.
void judge_written_file(const Located<config::FilePath>& written, const config::Tree& tree,
                        const std::vector<PolicyFile>& named, io::Broker& broker,
                        Diagnostics& out) {
  const std::string& path = written->path;
  const auto status = broker.status(path);
  const auto is_same = [&](const std::string& other) {
    if (path == other) return true;
    const auto of_other = broker.status(other);
    return status.has_value() && of_other.has_value() && *status == *of_other;
  };
  for (const auto& source : tree.sources()) {
    if (!is_same(source->path)) continue;
    out.error(written.at, fmt::format("`{}` is the configuration itself", path),
              "name a file of its own");
    return;
  }
  for (const PolicyFile& file : named) {
    if (!is_same(file.path)) continue;
    out.error(written.at, fmt::format("`{}` is a file that the gateway reads", path),
              fmt::format("it is named at {}; name a file of its own here", file.at.to_string()));
    return;
  }
}

void judge_written_files(const Config& config, const config::Tree& tree, io::Broker& broker,
                         Diagnostics& out) {
  const std::vector<PolicyFile> named = named_files(config);
  for (const auto* log : {&config.log.access, &config.log.process}) {
    if (!log->is_default()) judge_written_file(*log, tree, named, broker, out);
  }
  if (config.admin.socket.has_value())
    judge_written_file(*config.admin.socket, tree, named, broker, out);
  const auto& [access, process, level] = config.log;
  if (process.is_default() || access->path != process->path) return;
  if (process->written == "-" || access->written == "off") return;
  const auto status = broker.status(process->path);
  if (status.has_value() && !status->regular) return;  // /dev/null takes both
  out.error(process.at, "both logs go to this file, in which their lines would mix",
            fmt::format("the other one is named at {}; name two files", access.at.to_string()));
}

struct Environment {
  io::Broker& broker;
  WallTime today;
  LoadMode mode;
  bool from_file;
  const LoadResult* in_force = nullptr;  ///< for reload_files
};

/// From the tree in `result` to its plan.
void judge(LoadResult& result, const std::string& path, const Environment& environment) {
  Diagnostics& out = result.diagnostics;
  const Node& root = result.tree->root();
  const auto today = std::chrono::floor<std::chrono::days>(environment.today);
  config::Waivers waivers = config::Waivers::read(root, today, environment.mode.expiry, out);
  Reader reader(out, config::directory_of(path), &waivers);
  const bool whole = config_schema().read(root, result.config, reader);
  if (!root.is_mapping()) return;
  if (!whole) {
    Recovery recovery(root, reader);
    recovery.listeners(result.config);
    recovery.upstreams(result.config);
    recovery.routes(result.config);
    recovery.excuse(waivers);
  }
  const LoadResult* const in_force = environment.in_force;
  ReadWitness witness(environment.broker, result.config,
                      in_force == nullptr ? ReadWitness::Texts() : in_force->unwatched);
  // What is in force was judged when it was taken.
  if (in_force == nullptr) {
    for (const PolicyFile& file : policy_files(result.config))
      judge_file_mode(file.path, file.at, environment.broker, out);
    judge_written_files(result.config, *result.tree, environment.broker, out);
  }
  CompileContext context{.reader = reader,
                         .root = root,
                         .broker = witness,
                         .now = environment.today,
                         .bad_certificate = environment.mode.bad_certificate,
                         .in_force = in_force == nullptr ? nullptr : in_force->plan.get(),
                         .pairs_in_force = in_force == nullptr ? ListenerPairs() : in_force->pairs};
  std::shared_ptr<Plan> plan = compile(result.config, context);
  // A certificate that was renewed needs its waiver no more: no reason to do without it.
  if (in_force == nullptr) waivers.report_unused(out);
  result.bad_files = std::move(context.bad_files);
  result.pairs = std::move(context.pairs);
  result.waivers = waivers.all();
  if (!out.ok()) return;
  for (const Diagnostic& file : result.bad_files)
    witness.not_taken(file.at, in_force == nullptr ? ReadWitness::Digests() : in_force->digests);
  if (environment.from_file) plan->path = path;
  plan->hash = hash_of(*result.tree, &witness);
  plan->text_hash = hash_of(*result.tree, nullptr);
  plan->waivers = result.waivers;
  result.files = witness.states();
  result.unwatched = witness.texts();
  result.digests = witness.digests();
  result.plan = std::move(plan);
}

}  // namespace

LoadResult load_plan(const std::string& path, io::Broker& broker, WallTime today, LoadMode mode) {
  LoadResult result;
  const auto read = [&](const std::string& name) -> std::expected<std::string, std::string> {
    if (name != path) {
      const std::string directory = config::directory_of(path);
      const bool below = name.starts_with(directory + "/");
      return config::read_file_below(directory, below ? name.substr(directory.size() + 1) : name);
    }
    auto text = broker.read_file(path, kFileBytesMax);
    if (!text.has_value()) return std::unexpected(text.error().text());
    return std::move(*text);
  };
  result.tree = config::load(path, result.diagnostics, read);
  if (result.tree != nullptr) {
    judge_file_modes(*result.tree, broker, result.diagnostics);
    judge(result, path, {.broker = broker, .today = today, .mode = mode, .from_file = true});
  }
  result.diagnostics.sort();
  return result;
}

LoadResult load_plan_text(const std::string& name, const std::string& text, io::Broker& broker,
                          WallTime today, LoadMode mode) {
  LoadResult result;
  const auto read = [](const std::string&) -> std::expected<std::string, std::string> {
    return std::unexpected("a configuration that is no file includes none");
  };
  result.tree = config::load_text(name, text, result.diagnostics, read);
  if (result.tree != nullptr) {
    judge(result, name, {.broker = broker, .today = today, .mode = mode, .from_file = false});
  }
  result.diagnostics.sort();
  return result;
}

LoadResult reload_files(const LoadResult& in_force, io::Broker& broker, WallTime today) {
  LoadResult result;
  result.tree = in_force.tree;
  judge(result, std::string(in_force.tree->sources().front()->path),
        {.broker = broker,
         .today = today,
         .mode = {.expiry = config::ExpiryMode::kWarn, .bad_certificate = BadCertificate::kKeep},
         .from_file = !in_force.plan->path.empty(),
         .in_force = &in_force});
  result.diagnostics.sort();
  return result;
}

bool only_those_in_use_ended(const LoadResult& fresh, const LoadResult& in_force, WallTime today) {
  const auto fits = [&](const tls::CertificatePair& pair, const auto& is_same) {
    return tls::is_in_its_dates(pair, today) || is_same(pair);
  };
  for (const auto& [listener, pairs] : fresh.pairs) {
    const auto used = in_force.pairs.find(listener);
    const auto is_same = [&](const tls::CertificatePair& pair) {
      return used != in_force.pairs.end() &&
             std::ranges::any_of(
                 used->second, [&](const auto& one) { return tls::same_certificate(*one, pair); });
    };
    for (const auto& pair : pairs) {
      if (!fits(*pair, is_same)) return false;
    }
  }
  const auto client_fits = [&](const auto& fresh_tls, const auto& tls_in_force) {
    const tls::CertificatePair* const pair = fresh_tls ? fresh_tls->client() : nullptr;
    const tls::CertificatePair* const used = tls_in_force ? tls_in_force->client() : nullptr;
    return pair == nullptr || fits(*pair, [&](const tls::CertificatePair& own) {
             return used != nullptr && tls::same_certificate(*used, own);
           });
  };
  for (const auto& upstream : fresh.plan->upstreams) {
    if (!client_fits(upstream->tls, in_force.plan->upstreams[upstream->index]->tls)) return false;
  }
  const auto& state = fresh.plan->shared_state;
  if (state != nullptr && !client_fits(state->redis->tls, in_force.plan->shared_state->redis->tls))
    return false;
  // Of authorities and lists a date is told where nobody could enter by them.
  for (const PolicyFile& file : policy_files(fresh.config)) {
    const bool dated = std::ranges::any_of(fresh.diagnostics.all(), [&](const Diagnostic& found) {
      return found.rule == "cert-expired" && found.at.same_place(file.at);
    });
    const auto before = in_force.digests.find(file.path);
    const bool same =
        before != in_force.digests.end() && before->second == fresh.digests.at(file.path);
    if (dated && !same) return false;
  }
  return true;
}

}  // namespace merlon::gateway
