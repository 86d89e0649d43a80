// How weights lie in memory: the one description that packing and every kernel share.
//
// A matrix of N rows and K columns is cut into panels of 64 rows.  A panel is a run of records, one
// for each group of 32 columns, so that a product reads it front to back, once:
//
//   codes    8 steps of 4 columns; a step is 64 rows x 4 columns, the 4 bytes of a row adjacent
//            4 bits: steps 2j and 2j+1 share the bytes of pair j, low and high nibble
//            5 bits: the fifth bits follow, 64 x 4 bytes, bit s of a byte belongs to step s
//            6 bits: the upper two follow, 2 x 64 x 4 bytes, four steps to a byte
//   scales   one fp16 a row (and one fp16 minimum); the K-quants have one byte a row and half
//            group, or a scale and a minimum, and their fp16 factors once for 8 groups
//
// A code c stands for (c - offset) * scale, or for c * scale - minimum: exactly what the GGUF block
// it came from stands for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tongwen {

constexpr int kPanelRows = 64;
constexpr int kGroup = 32;
constexpr int kSteps = 8;
constexpr int kStepBytes = kPanelRows * 4;

// The last two are only read from files: panels do not hold them.
enum class Format : int { kQ8_0 = 0, kQ4_0, kQ5_0, kQ6_K, kQ4_K, kQ4_1, kQ5_1, kQ5_K, kBF16, kCount, kF32 = kCount, kF16, kStoredCount };

// To be raised when panels of the same weights become other bytes: they are kept on disk.
constexpr int kLayoutVersion = 1;

// What the scales of a group look like once they are unpacked.
enum class Scales { kOne, kHalves, kMinimum };

struct Layout {
  int bits;          // of a code
  int log2_offset;   // of what is subtracted from a code; -1: nothing
  Scales scales;
  bool super;        // eight groups share fp16 factors

  constexpr int code_bytes() const { return kStepBytes * bits; }
  constexpr int groups() const { return super ? 8 : 1; }
  constexpr int scale_bytes() const {
    return super ? 2 * kPanelRows : (scales == Scales::kMinimum ? 4 : 2) * kPanelRows;
  }
  constexpr int factor_bytes() const {
    return !super ? 0 : (scales == Scales::kMinimum ? 4 : 2) * kPanelRows;
  }
  // Bytes of a record: one group, or eight of a K-quant.
  constexpr int record_bytes() const { return groups() * (code_bytes() + scale_bytes()) + factor_bytes(); }
  constexpr size_t panel_bytes(int columns) const {
    if (bits == 16) return static_cast<size_t>(columns) / 2 * kStepBytes;
    return static_cast<size_t>(columns) / kGroup / groups() * record_bytes();
  }
  constexpr int unpacked_bytes() const { return kSteps * kStepBytes + (scales == Scales::kOne ? 1 : 2) * kPanelRows * 4; }
};

constexpr Layout layout_of(Format format) {
  switch (format) {
    case Format::kQ8_0: return {8, 7, Scales::kOne, false};
    case Format::kQ4_0: return {4, 3, Scales::kOne, false};
    case Format::kQ5_0: return {5, 4, Scales::kOne, false};
    case Format::kQ6_K: return {6, 5, Scales::kHalves, true};
    case Format::kQ4_K: return {4, -1, Scales::kMinimum, true};
    case Format::kQ4_1: return {4, -1, Scales::kMinimum, false};
    case Format::kQ5_1: return {5, -1, Scales::kMinimum, false};
    case Format::kQ5_K: return {5, -1, Scales::kMinimum, true};
    default: return {16, -1, Scales::kOne, false};
  }
}

// Where the parts of group `group` of a panel lie.
struct Record {
  const uint8_t* codes;
  const uint8_t* scales;   // of this group
  const uint8_t* factors;  // of its eight groups, K-quants only
};

template <Format F>
inline Record record_at(const uint8_t* panel, int group) {
  constexpr Layout layout = layout_of(F);
  const uint8_t* base = panel + static_cast<size_t>(group / layout.groups()) * layout.record_bytes();
  const int inner = group % layout.groups();
  const uint8_t* scales = base + layout.groups() * layout.code_bytes();
  return {base + inner * layout.code_bytes(), scales + inner * layout.scale_bytes(),
          scales + layout.groups() * layout.scale_bytes()};
}

// Activations, quantized to 8 bits in groups of 32 with one scale each.  Rows are tiled by four
// (the last tile may be narrower); a tile holds one record a group, each entry `width` long:
//   8 x 4 codes as int32 | scale | minus the sum of the codes, whole, first and second half | the first times the scale
constexpr int kTileRows = 4;
constexpr int kActivationWords = kSteps + 5;
constexpr size_t activation_bytes(size_t rows, size_t columns) {
  return rows * (columns / kGroup) * kActivationWords * 4;
}
constexpr int whole_tiles(int rows) { return (rows + kTileRows - 1) / kTileRows * kTileRows; }
// As pairs of bfloat16 they take more: what scratch must hold.
constexpr size_t scratch_bytes(size_t rows, size_t columns) { return rows * columns * 2; }
static_assert(scratch_bytes(1, kGroup) >= activation_bytes(1, kGroup), "scratch holds either form");

}  // namespace tongwen
