// The kernels for NEON with the dot product and I8MM, on 64-bit ARM.
#include "simd_neon.hpp"
#include "kernels.hpp"

namespace tongwen {
const Kernels& kernels_neon_i8mm() {
  static const Kernels kernels = table("neon_i8mm");
  return kernels;
}
}  // namespace tongwen
