// The kernels in plain C++, for any processor.
#include "simd_portable.hpp"
#include "kernels.hpp"

namespace tongwen {
const Kernels& kernels_portable() {
  static const Kernels kernels = table("portable");
  return kernels;
}
}  // namespace tongwen
