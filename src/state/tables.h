#pragma once

#include "state/auth_budget.h"
#include "state/concurrency_table.h"
#include "state/limit_table.h"
#include "state/proof_budget.h"
#include "state/replay_table.h"
#include "state/shared_node.h"

namespace merlon::state {

/// What requests share: one for the whole process, used by all workers at once. `merlon explain`
/// and tests have their own.
struct Tables {
  LimitTable limits;
  ConcurrencyTable in_progress;
  AuthBudget auth_failures{limits};
  ReplayTable proofs{};  ///< of possession, that were shown
  ProofBudget proofs_of_keys{limits};
  SharedNode node;
};

}  // namespace merlon::state
