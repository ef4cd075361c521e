#include "policy/observed.h"

#include <fmt/format.h>

#include <utility>

#include "config/waivers.h"

namespace merlon::policy {
namespace {

constexpr std::string_view kSlug = "policy-observed";

class Observed final : public Policy {
 public:
  Observed(std::unique_ptr<const Policy> judge, std::size_t waiver)
      : judge_(std::move(judge)), waiver_(waiver) {}

  [[nodiscard]] std::string_view name() const noexcept override { return judge_->name(); }
  [[nodiscard]] Step step() const noexcept override { return judge_->step(); }
  [[nodiscard]] const Mark& at() const noexcept override { return judge_->at(); }
  [[nodiscard]] const ContentRules* content() const noexcept override { return judge_->content(); }
  [[nodiscard]] std::optional<std::size_t> observed_by() const noexcept override { return waiver_; }

  [[nodiscard]] std::vector<AppliedClass> classes_of(const Context& context) const override {
    return judge_->classes_of(context);
  }

  [[nodiscard]] Decision check(Context& context) const noexcept override {
    const std::size_t fields = context.fields.lines().size();
    const Decision decision = judge_->check(context);
    if (context.preflight) return decision;
    if (decision.kind == Decision::Kind::kDelay) return Decision::next();
    if (decision.kind != Decision::Kind::kRefuse) return decision;
    // Answers differ by what was judged all the same: caches must know. Nothing else is true of
    // them.
    context.fields.truncate(fields, http::FieldId::kVary);
    context.observations.add(decision.refusal, waiver_);
    return Decision::next();
  }

 private:
  const std::unique_ptr<const Policy> judge_;
  const std::size_t waiver_;
};

}  // namespace

void observe_if_waived(CompileInput& input, Judges& judges) {
  config::Waivers* waivers = input.reader.waivers();
  const std::string place = input.reader.place();
  if (waivers == nullptr || waivers->find(kSlug, place) == nullptr) return;
  const config::Waiver* waiver = waivers->use(kSlug, place);
  static_cast<void>(waivers->counter(kSlug, place));
  input.reader.diagnostics().add(
      {.severity = Severity::kNote,
       .at = judges.front()->at(),
       .message = fmt::format("{} only observes: what it refuses is let through until {}", place,
                              config::format_date(waiver->expires)),
       .help = config::where_waived(place),
       .rule = std::string(kSlug)});
  for (auto& judge : judges) {
    judge = std::make_unique<Observed>(std::move(judge), waiver->index);
  }
}

}  // namespace merlon::policy
