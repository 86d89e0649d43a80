// The kernels for NEON with the dot product, on 64-bit ARM.
#include "simd_neon.hpp"
#include "kernels.hpp"

namespace tongwen {
const Kernels& kernels_neon() {
  static const Kernels kernels = table("neon");
  return kernels;
}
}  // namespace tongwen
