#include "pack.hpp"

#include <cstring>

namespace tongwen {
namespace {

// A group of one row as the file states it.
struct Group {
  uint8_t codes[kGroup];
  uint8_t scales[2];      // K-quants: of both halves, or scale and minimum
  uint16_t factors[2];    // fp16: scale and minimum, of the group or of its eight groups
};

struct Block {
  int groups;  // of 32 columns
  int bytes;
};

constexpr Block block_of(Format format) {
  switch (format) {
    case Format::kQ8_0: return {1, 34};
    case Format::kQ4_0: return {1, 18};
    case Format::kQ4_1: return {1, 20};
    case Format::kQ5_0: return {1, 22};
    case Format::kQ5_1: return {1, 24};
    case Format::kQ4_K: return {8, 144};
    case Format::kQ5_K: return {8, 176};
    case Format::kQ6_K: return {8, 210};
    default: return {1, 64};
  }
}

uint16_t half_at(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, 2);
  return half;
}

// Low nibbles are columns 0 to 15, high ones 16 to 31.
void nibbles(const uint8_t* bytes, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) codes[i] = bytes[i] & 15, codes[i + 16] = bytes[i] >> 4;
}

void fifth_bits(const uint8_t* bytes, uint8_t* codes) {
  for (int i = 0; i < kGroup; ++i) codes[i] |= (bytes[i / 8] >> (i % 8) & 1) << 4;
}

// Scale and minimum of one of eight groups, six bits each (ggml's get_scale_min_k4).
void six_bit_pair(const uint8_t* packed, int group, uint8_t* pair) {
  if (group < 4) {
    pair[0] = packed[group] & 63, pair[1] = packed[group + 4] & 63;
  } else {
    pair[0] = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
    pair[1] = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  }
}

// Two groups share 32 bytes: the even one has the low nibbles.
void k_nibbles(const uint8_t* bytes, int group, uint8_t* codes) {
  for (int i = 0; i < kGroup; ++i) codes[i] = bytes[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
}

void read_q6_k(const uint8_t* block, int group, Group& out) {
  const int half = group / 4, part = group % 4;  // 128 columns share 64 + 32 bytes
  const uint8_t *low = block + half * 64 + part % 2 * 32, *high = block + 128 + half * 32;
  for (int i = 0; i < kGroup; ++i) out.codes[i] = (low[i] >> (part / 2 * 4) & 15) | (high[i] >> (part * 2) & 3) << 4;
  out.scales[0] = block[192 + group * 2], out.scales[1] = block[193 + group * 2];
  out.factors[0] = half_at(block + 208);
}

void read_group(Format format, const uint8_t* block, int group, Group& out) {
  out.factors[0] = half_at(block);
  switch (format) {
    case Format::kQ8_0:
      for (int i = 0; i < kGroup; ++i) out.codes[i] = static_cast<uint8_t>(block[2 + i] + 128);
      return;
    case Format::kQ4_0: return nibbles(block + 2, out.codes);
    case Format::kQ4_1: out.factors[1] = half_at(block + 2) ^ 0x8000; return nibbles(block + 4, out.codes);
    case Format::kQ5_0: nibbles(block + 6, out.codes); return fifth_bits(block + 2, out.codes);
    case Format::kQ5_1:
      out.factors[1] = half_at(block + 2) ^ 0x8000;  // the file adds it, a panel subtracts it
      nibbles(block + 8, out.codes);
      return fifth_bits(block + 4, out.codes);
    case Format::kQ4_K:
    case Format::kQ5_K:
      out.factors[1] = half_at(block + 2);
      six_bit_pair(block + 4, group, out.scales);
      k_nibbles(block + (format == Format::kQ5_K ? 48 : 16), group, out.codes);
      if (format == Format::kQ5_K)
        for (int i = 0; i < kGroup; ++i) out.codes[i] |= (block[16 + i] >> group & 1) << 4;
      return;
    default: return read_q6_k(block, group, out);
  }
}

void write_codes(const Layout& layout, const uint8_t* codes, int row, uint8_t* out) {
  for (int k = 0; k < kGroup; ++k) {
    const int step = k / 4, byte = row * 4 + k % 4, code = codes[k];
    if (layout.bits == 8) {
      out[step * kStepBytes + byte] = code;
      continue;
    }
    out[step / 2 * kStepBytes + byte] |= (code & 15) << (step % 2 * 4);
    if (layout.bits == 5) out[4 * kStepBytes + byte] |= (code >> 4) << step;
    if (layout.bits == 6) out[(4 + step / 4) * kStepBytes + byte] |= (code >> 4) << (step % 4 * 2);
  }
}

void write_group(Format format, const Group& group, int row, int inner, uint8_t* record) {
  const Layout layout = layout_of(format);
  write_codes(layout, group.codes, row, record + inner * layout.code_bytes());
  uint8_t* scales = record + layout.groups() * layout.code_bytes() + inner * layout.scale_bytes();
  uint8_t* factors = layout.super ? record + layout.groups() * (layout.code_bytes() + layout.scale_bytes()) : scales;
  if (layout.super) scales[row] = group.scales[0], scales[kPanelRows + row] = group.scales[1];
  std::memcpy(factors + row * 2, &group.factors[0], 2);
  if (layout.scales == Scales::kMinimum) std::memcpy(factors + (kPanelRows + row) * 2, &group.factors[1], 2);
}

void pack_bf16(const uint8_t* source, int rows, int columns, int first, uint8_t* panel) {
  for (int row = 0; row < kPanelRows && first + row < rows; ++row)
    for (int pair = 0; pair < columns / 2; ++pair)
      std::memcpy(panel + pair * kStepBytes + row * 4, source + (static_cast<size_t>(first + row) * columns + pair * 2) * 2, 4);
}

}  // namespace

size_t row_bytes(Format format, int columns) {
  const Block block = block_of(format);
  return static_cast<size_t>(columns) / kGroup / block.groups * block.bytes;
}

void pack_panel(Format format, const uint8_t* source, int rows, int columns, int first, uint8_t* panel) {
  const Layout layout = layout_of(format);
  if (format == Format::kBF16) {
    std::memset(panel, 0, layout.panel_bytes(columns));
    return pack_bf16(source, rows, columns, first, panel);
  }
  std::memset(panel, 0, layout.panel_bytes(columns));
  const Block block = block_of(format);
  Group group{};
  for (int g = 0; g < columns / kGroup; ++g) {
    uint8_t* record = panel + static_cast<size_t>(g / layout.groups()) * layout.record_bytes();
    for (int row = 0; row < kPanelRows && first + row < rows; ++row) {
      const uint8_t* blocks = source + (first + row) * row_bytes(format, columns);
      read_group(format, blocks + g / block.groups * block.bytes, g % block.groups, group);
      write_group(format, group, row, g % layout.groups(), record);
    }
  }
}

}  // namespace tongwen
