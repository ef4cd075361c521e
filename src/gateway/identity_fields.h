#pragma once

#include <array>
#include <string>

#include "gateway/plan.h"
#include "http/fields.h"
#include "identity/identity.h"

namespace merlon::gateway {

/// `forward.identity` lists at most this many.
inline constexpr std::size_t kIdentityFieldsMax = 16;

/// Tells the upstream who asks, in the fields that the route lists; claims that the caller does not
/// have are left out. `text` holds the values and must live as long as `fields` are used.
void add_identity_fields(const Route& route, const identity::Identity& who, std::string& text,
                         http::Fields& fields);

}  // namespace merlon::gateway
