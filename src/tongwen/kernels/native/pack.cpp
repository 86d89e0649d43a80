#include "pack.hpp"

#include <algorithm>
#include <cstring>

#include "blocks.hpp"

namespace tongwen {
namespace {

// ---- into panels -----------------------------------------------------------------------------------

// One group of one row; a step's four codes are one word, whose bytes are worked on side by side.
template <Format F>
void write_codes(const uint8_t* codes, uint8_t* out) {
  constexpr int bits = layout_of(F).bits;
  uint32_t steps[kSteps];
  std::memcpy(steps, codes, kGroup);
  const auto write = [&](int plane, uint32_t word) { std::memcpy(out + plane * kStepBytes, &word, 4); };
  if constexpr (bits == 8) {
    for (int s = 0; s < kSteps; ++s) write(s, steps[s]);
    return;
  }
  for (int j = 0; j < 4; ++j) write(j, (steps[2 * j] & 0x0f0f0f0f) | (steps[2 * j + 1] & 0x0f0f0f0f) << 4);
  if constexpr (bits == 5) {
    uint32_t fifth = 0;
    for (int s = 0; s < kSteps; ++s) fifth |= (steps[s] >> 4 & 0x01010101) << s;
    write(4, fifth);
  } else if constexpr (bits == 6) {
    uint32_t upper[2] = {0, 0};
    for (int s = 0; s < kSteps; ++s) upper[s / 4] |= (steps[s] >> 4 & 0x03030303) << (s % 4 * 2);
    write(4, upper[0]), write(5, upper[1]);
  }
}

template <Format F>
void write_group(const Group& group, int row, int inner, uint8_t* record) {
  constexpr Layout layout = layout_of(F);
  write_codes<F>(group.codes, record + inner * layout.code_bytes() + row * 4);
  uint8_t* scales = record + layout.groups() * layout.code_bytes() + inner * layout.scale_bytes();
  uint8_t* factors = layout.super ? record + layout.groups() * (layout.code_bytes() + layout.scale_bytes()) : scales;
  if (layout.super) scales[row] = group.scales[0], scales[kPanelRows + row] = group.scales[1];
  std::memcpy(factors + row * 2, &group.factors[0], 2);
  if (layout.scales == Scales::kMinimum) std::memcpy(factors + (kPanelRows + row) * 2, &group.factors[1], 2);
}

// Rows of one panel: `count` of them are there.
struct Rows {
  const uint8_t* first;
  size_t bytes;  // of one
  int count, columns;

  const uint8_t* operator[](int row) const { return first + row * bytes; }
};

template <Format F>
void lay_out(const Rows& rows, Read, uint8_t* panel) {
  constexpr Layout layout = layout_of(F);
  constexpr Block block = block_of(F);
  Group group{};
  for (int g = 0; g < rows.columns / kGroup; ++g)
    for (int row = 0; row < rows.count; ++row) {
      read_group<F>(rows[row] + g / block.groups * block.bytes, g % block.groups, group);
      write_group<F>(group, row, g % layout.groups(), panel + static_cast<size_t>(g / layout.groups()) * layout.record_bytes());
    }
}

// Pairs of columns, each pair of 64 rows together.
void write_pairs(const uint16_t* values, int count, uint8_t* out) {
  for (int i = 0; i < count; i += 2) std::memcpy(out + i / 2 * kStepBytes, values + i, 4);
}

template <>
void lay_out<Format::kBF16>(const Rows& rows, Read, uint8_t* panel) {
  uint16_t values[kGroup];
  for (int column = 0; column < rows.columns; column += kGroup)
    for (int row = 0; row < rows.count; ++row) {
      const int count = std::min(kGroup, rows.columns - column);
      std::memcpy(values, rows[row] + column * 2, count * 2);
      write_pairs(values, count, panel + column / 2 * kStepBytes + row * 4);
    }
}

// ---- rounding to fewer bits ------------------------------------------------------------------------

// Ordered like |x|, NaN above all.
int32_t magnitude(float x) { return static_cast<int32_t>(bits_of_float(x) & 0x7fffffff); }
constexpr int32_t kInfinite = 0x7f800000;

int32_t largest_magnitude(const float* x) {
  int32_t top = 0;
  for (int i = 0; i < kGroup; ++i) top = magnitude(x[i]) > top ? magnitude(x[i]) : top;
  return top;
}

// 1 / scale; nothing where the scale is nothing, no number, or too small to have an inverse.
float inverse_of(float scale) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  return magnitude(scale) < kInfinite && magnitude(inverse) < kInfinite ? inverse : 0;
}

// The largest magnitude becomes 127; halves go away from zero.  A group that is not finite has a
// scale that says so.
void round_q8_0(const float* x, Group& out) {
  const float scale = float_of_bits(largest_magnitude(x)) / 127, inverse = inverse_of(scale);
  out.factors[0] = half_of_float(scale);
  if (inverse == 0) return static_cast<void>(std::memset(out.codes, 128, kGroup));
  for (int i = 0; i < kGroup; ++i) {
    const float scaled = x[i] * inverse, size = float_of_bits(magnitude(scaled));
    const int whole = static_cast<int>(size), half = static_cast<int>((size - static_cast<float>(whole)) * 2);
    const int sign = static_cast<int32_t>(bits_of_float(scaled)) >> 31;
    out.codes[i] = static_cast<uint8_t>(128 + (((whole + half) ^ sign) - sign));
  }
}

// The first value of the largest magnitude becomes -8.
void round_q4_0(const float* x, Group& out) {
  const int32_t top = largest_magnitude(x);
  int first = 0;
  while (magnitude(x[first]) != top) ++first;
  const float scale = x[first] / -8, inverse = inverse_of(scale);
  out.factors[0] = half_of_float(scale);
  if (inverse == 0) return static_cast<void>(std::memset(out.codes, 8, kGroup));
  for (int i = 0; i < kGroup; ++i) {
    const int code = static_cast<int>(x[i] * inverse + 8.5f);
    out.codes[i] = static_cast<uint8_t>(code < 15 ? code : 15);
  }
}

template <Format F>
void round_off(const Rows& rows, Read read, uint8_t* panel) {
  static_assert(F == Format::kQ8_0 || F == Format::kQ4_0, "the formats that weights are rounded to");
  float values[kGroup];
  Group group{};
  for (int g = 0; g < rows.columns / kGroup; ++g)
    for (int row = 0; row < rows.count; ++row) {
      read(rows[row], g, kGroup, values);
      F == Format::kQ8_0 ? round_q8_0(values, group) : round_q4_0(values, group);
      write_group<F>(group, row, 0, panel + static_cast<size_t>(g) * layout_of(F).record_bytes());
    }
}

template <>
void round_off<Format::kBF16>(const Rows& rows, Read read, uint8_t* panel) {
  float values[kGroup];
  uint16_t brief[kGroup];
  for (int column = 0; column < rows.columns; column += kGroup)
    for (int row = 0; row < rows.count; ++row) {
      const int count = std::min(kGroup, rows.columns - column);
      read(rows[row], column / kGroup, count, values);
      for (int i = 0; i < count; ++i) brief[i] = bf16_of_float(values[i]);
      write_pairs(brief, count, panel + column / 2 * kStepBytes + row * 4);
    }
}

// ---- by format -------------------------------------------------------------------------------------

Read reader_of(Format stored) {
  switch (stored) {
    case Format::kQ8_0: return read_values<Format::kQ8_0>;
    case Format::kQ4_0: return read_values<Format::kQ4_0>;
    case Format::kQ4_1: return read_values<Format::kQ4_1>;
    case Format::kQ5_0: return read_values<Format::kQ5_0>;
    case Format::kQ5_1: return read_values<Format::kQ5_1>;
    case Format::kQ4_K: return read_values<Format::kQ4_K>;
    case Format::kQ5_K: return read_values<Format::kQ5_K>;
    case Format::kQ6_K: return read_values<Format::kQ6_K>;
    case Format::kF32: return read_values<Format::kF32>;
    case Format::kF16: return read_values<Format::kF16>;
    default: return read_values<Format::kBF16>;
  }
}

using Pack = void (*)(const Rows&, Read, uint8_t*);

Pack packer_of(Format format, Format stored) {
  const bool as_is = format == stored;
  switch (format) {
    case Format::kQ8_0: return as_is ? lay_out<Format::kQ8_0> : round_off<Format::kQ8_0>;
    case Format::kQ4_0: return as_is ? lay_out<Format::kQ4_0> : round_off<Format::kQ4_0>;
    case Format::kBF16: return as_is ? lay_out<Format::kBF16> : round_off<Format::kBF16>;
    case Format::kQ4_1: return as_is ? lay_out<Format::kQ4_1> : nullptr;
    case Format::kQ5_0: return as_is ? lay_out<Format::kQ5_0> : nullptr;
    case Format::kQ5_1: return as_is ? lay_out<Format::kQ5_1> : nullptr;
    case Format::kQ4_K: return as_is ? lay_out<Format::kQ4_K> : nullptr;
    case Format::kQ5_K: return as_is ? lay_out<Format::kQ5_K> : nullptr;
    case Format::kQ6_K: return as_is ? lay_out<Format::kQ6_K> : nullptr;
    default: return nullptr;
  }
}

}  // namespace

size_t row_bytes(Format stored, int columns) {
  if (is_whole(stored)) return static_cast<size_t>(columns) * (stored == Format::kF32 ? 4 : 2);
  const Block block = block_of(stored);
  return static_cast<size_t>(columns) / kGroup / block.groups * block.bytes;
}

bool can_pack(Format format, Format stored) { return packer_of(format, stored) != nullptr; }

void pack_panel(Format format, Format stored, const uint8_t* source, int rows, int columns, int first, uint8_t* panel) {
  const size_t bytes = row_bytes(stored, columns);
  const Rows mine{source + first * bytes, bytes, std::min(kPanelRows, rows - first), columns};
  if (mine.count < kPanelRows) std::memset(panel, 0, layout_of(format).panel_bytes(columns));
  packer_of(format, stored)(mine, reader_of(stored), panel);
}

}  // namespace tongwen
