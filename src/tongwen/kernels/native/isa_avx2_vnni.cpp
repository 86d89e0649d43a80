// The kernels for AVX2, FMA, F16C and AVX-VNNI.
#include "simd_avx2.hpp"
#include "kernels.hpp"

namespace tongwen {
const Kernels& kernels_avx2_vnni() {
  static const Kernels kernels = table("avx2_vnni");
  return kernels;
}
}  // namespace tongwen
