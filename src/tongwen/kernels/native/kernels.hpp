// All kernels of one instruction set; included once by each `isa_*.cpp`, after its `simd_*.hpp`.
#pragma once

#include "attention.hpp"
#include "elementwise.hpp"
#include "experts.hpp"
#include "projections.hpp"
#include "reduce.hpp"
#include "score.hpp"

namespace tongwen {
namespace {
Kernels table(const char* name) { return {name, embed, norm, linear, dense, add, add_gated, experts, swiglu, mlp, rope, attention, score, statistics}; }
}  // namespace
}  // namespace tongwen
