#pragma once

#include "policy/compile.h"

namespace merlon::policy {

/// Shadow mode: where a waiver of `policy-observed` names the place being read, what the judges
/// would have refused is noted in the Context and let through. What they answer, and whatever they
/// say of a preflight, stays: an observed policy opens nothing to other origins.
void observe_if_waived(CompileInput& input, Judges& judges);

}  // namespace merlon::policy
