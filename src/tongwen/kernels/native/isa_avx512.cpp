// The kernels for AVX-512 with VNNI, BF16 and GFNI.
#include "simd_avx512.hpp"
#include "kernels.hpp"

namespace tongwen {
const Kernels& kernels_avx512() {
  static const Kernels kernels = table("avx512");
  return kernels;
}
}  // namespace tongwen
