// The processor's vectors, under names that every kernel uses.  Included after a `simd_*.hpp`.
#pragma once

#include <type_traits>

#include "formats.hpp"

#define TW_INLINE inline __attribute__((always_inline))
#ifndef TW_UNROLL
#define TW_UNROLL _Pragma("GCC unroll 16")
#endif

namespace tongwen {
namespace {

using I = Simd::I;
using Fl = Simd::F;
constexpr int kLanes = Simd::kLanes;
constexpr float kLargestFloat = 3.40282347e38f;
constexpr int kRegisters = kPanelRows / kLanes;  // of one step of a panel

template <int N>
using Const = std::integral_constant<int, N>;

// Not std::min: a function of the standard library compiled here could be linked into code that
// runs on a processor without these instructions.
TW_INLINE int smaller(int a, int b) { return a < b ? a : b; }
TW_INLINE int larger(int a, int b) { return a > b ? a : b; }

// e to the x, to about one unit in the last place of a float (Cephes' polynomial).
TW_INLINE Fl exponential(Fl x) {
  x = Simd::max(Simd::allf(-87.f), x);  // where one is NaN `max` is its second argument
  const Fl n = Simd::whole(Simd::mul(x, Simd::allf(1.44269504f)));
  Fl r = Simd::fnma(n, Simd::allf(0.693359375f), x);
  r = Simd::fnma(n, Simd::allf(-2.12194440e-4f), r);
  Fl p = Simd::allf(1.f / 720);
  p = Simd::fma(p, r, Simd::allf(1.f / 120));
  p = Simd::fma(p, r, Simd::allf(1.f / 24));
  p = Simd::fma(p, r, Simd::allf(1.f / 6));
  p = Simd::fma(p, r, Simd::allf(0.5f));
  p = Simd::fma(p, r, Simd::allf(1.f));
  p = Simd::fma(p, r, Simd::allf(1.f));
  return Simd::times_power(p, n);
}

}  // namespace
}  // namespace tongwen
