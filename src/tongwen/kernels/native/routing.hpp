// Which experts work on which rows.  `kernels/moe.py` is the definition.
#pragma once

#include "ops.hpp"

namespace tongwen {

void route(const Route& op, Team& team);

}  // namespace tongwen
