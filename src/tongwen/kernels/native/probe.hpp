// What this processor multiplies at most: the wall that products meet.
#pragma once

#include <string>

#include "pool.hpp"

namespace tongwen {

// Multiplies and adds of 8-bit integers a second, from registers, on all threads of the pool,
// with the instructions that the kernels of `isa` use; 0 where none is known.
double peak_int8_ops(const std::string& isa, Pool& pool);

}  // namespace tongwen
