// The kernels for AVX2, FMA and F16C.
#include "simd_avx2.hpp"
#include "kernels.hpp"

namespace tongwen {
const Kernels& kernels_avx2() {
  static const Kernels kernels = table("avx2");
  return kernels;
}
}  // namespace tongwen
