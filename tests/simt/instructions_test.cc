// The host bodies of the wrapped instructions against the layouts that the PTX ISA documents: matrices are laid out by hand, the instruction runs, and what
// comes back is compared with plain loops. The device's own bodies are compared with these by precis-gpu-check (tests/gpu/instructions).

#include <cmath>
#include <cstring>

#include "gtest/gtest.h"
#include "tests/gpu/instructions/boxes.h"
#include "tests/gpu/instructions/instructions.h"

namespace precis::gpu_test {
namespace {

using kernels::Swizzle;

const Instruction& Find(const std::vector<Instruction>& all, const std::string& name) {
  for (const Instruction& instruction : all) {
    if (instruction.name == name) return instruction;
  }
  ADD_FAILURE() << "no instruction " << name;
  return all[0];
}
const Instruction& Find(const std::string& name) {
  static const std::vector<Instruction> all = simt::Instructions(), sm90 = simt::InstructionsSm90();
  for (const Instruction& instruction : all) {
    if (instruction.name == name) return instruction;
  }
  return Find(sm90, name);
}
std::vector<uint32_t> Execute(const Instruction& instruction, const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(static_cast<size_t>(instruction.words_out), 0xffffffffu);
  instruction.run(in.data(), out.data(), {nullptr});
  return out;
}
std::vector<uint32_t> Random(const Instruction& instruction) { return RandomWords(instruction.words, instruction.words_in, 3); }

uint16_t Half(const std::vector<uint32_t>& words, int index) { return static_cast<uint16_t>(words[static_cast<size_t>(index) / 2] >> (16 * (index % 2))); }
void PutHalf(std::vector<uint32_t>& words, int64_t index, uint16_t half) { reinterpret_cast<uint16_t*>(words.data())[index] = half; }
uint16_t Bf16Of(int value) {
  const auto x = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>(bits >> 16);
}
float FloatOf(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
// Small integers, different in each place.
int A(int row, int k) { return (row * 3 + k * 5) % 9 - 4; }
int B(int k, int column) { return (k * 7 + column * 2) % 9 - 4; }
int Product(int row, int column, int depth) {
  int sum = 0;
  for (int k = 0; k < depth; ++k) sum += A(row, k) * B(k, column);
  return sum;
}

// Matrix m's row r was given by lane 8 m + r, which pointed at row 5 (8 m + r) mod 32 of the words.
void CheckLdMatrix(const std::string& name, int matrices, bool transposed) {
  const Instruction& instruction = Find(name);
  const auto in = Random(instruction), out = Execute(instruction, in);
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < matrices; ++m) {
      for (int i = 0; i < 2; ++i) {
        const int along = lane % 4 * 2 + i, across = lane / 4;
        const int row = transposed ? along : across, column = transposed ? across : along;
        EXPECT_EQ(Half(out, (lane * matrices + m) * 2 + i), Half(in, (8 * m + row) * 5 % 32 * 8 + column)) << name << " lane " << lane << " matrix " << m;
      }
    }
  }
}

TEST(InstructionsTest, LdMatrix) {
  CheckLdMatrix("LdMatrixX4", 4, false);
  CheckLdMatrix("LdMatrixX4Trans", 4, true);
  CheckLdMatrix("LdMatrixX2", 2, false);
  CheckLdMatrix("LdMatrixX2Trans", 2, true);
}

// "Matrix Fragments for mma.m16n8k16": group = lane / 4, member = lane % 4.
TEST(InstructionsTest, MmaBf16) {
  std::vector<uint32_t> in(192);
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, member = lane % 4;
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8, column = member * 2 + (i & 1) + (i >= 4 ? 8 : 0);
      PutHalf(in, lane * 12 + i, Bf16Of(A(row, column)));
    }
    for (int i = 0; i < 4; ++i) PutHalf(in, lane * 12 + 8 + i, Bf16Of(B(member * 2 + (i & 1) + (i >= 2 ? 8 : 0), group)));
  }
  const auto out = Execute(Find("MmaBf16"), in);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(FloatOf(out[static_cast<size_t>(lane * 4 + i)]), lane * 4 + i + Product(lane / 4 + (i >= 2 ? 8 : 0), lane % 4 * 2 + (i & 1), 16)) << lane << " " << i;
    }
  }
}

// "Matrix Fragments for mma.m16n8k32", 8-bit.
TEST(InstructionsTest, MmaS8) {
  std::vector<uint32_t> in(192);
  auto* bytes = reinterpret_cast<int8_t*>(in.data());
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, member = lane % 4;
    for (int i = 0; i < 16; ++i) {
      const int row = i < 4 || (i >= 8 && i < 12) ? group : group + 8, column = member * 4 + (i & 3) + (i >= 8 ? 16 : 0);
      bytes[lane * 24 + i] = static_cast<int8_t>(A(row, column));
    }
    for (int i = 0; i < 8; ++i) bytes[lane * 24 + 16 + i] = static_cast<int8_t>(B(member * 4 + (i & 3) + (i >= 4 ? 16 : 0), group));
  }
  const auto out = Execute(Find("MmaS8"), in);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(static_cast<int32_t>(out[static_cast<size_t>(lane * 4 + i)]), lane * 4 + i + Product(lane / 4 + (i >= 2 ? 8 : 0), lane % 4 * 2 + (i & 1), 32));
    }
  }
}

TEST(InstructionsTest, CpAsyncFillsWhatIsNotValidWithZeros) {
  const auto in = Random(Find("CpAsync16")), out = Execute(Find("CpAsync16"), in);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(out[static_cast<size_t>(i)], i / 4 % 2 == 0 ? in[static_cast<size_t>((31 - i / 4) * 4 + i % 4)] : 0) << i;
}

TEST(InstructionsTest, WarpExchanges) {
  const auto in = Random(Find("ShuffleXor"));
  uint32_t votes = 0;
  for (size_t lane = 0; lane < 32; ++lane) votes |= (in[lane] & 1) << lane;
  for (size_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(Execute(Find("ShuffleXor"), in)[lane], in[lane ^ 5]);
    EXPECT_EQ(Execute(Find("ShuffleIdx"), in)[lane], in[(lane * 7 + 3) % 32]);
    EXPECT_EQ(Execute(Find("ShuffleDown"), in)[lane], in[lane + 3 < 32 ? lane + 3 : lane]);
    EXPECT_EQ(Execute(Find("Ballot"), in)[lane], votes);
  }
}

// "Swizzling modes": within 1,024, 512 or 256 bytes, the 16-byte piece of a 128-byte line is exchanged by the line's number.
int64_t Swizzled(int64_t byte, Swizzle swizzle) {
  const int64_t line = byte / 128, piece = byte % 128 / 16;
  const int64_t lines = swizzle == Swizzle::k128 ? 8 : swizzle == Swizzle::k64 ? 4 : swizzle == Swizzle::k32 ? 2 : 1;
  return line * 128 + (piece ^ line % lines) * 16 + byte % 16;
}

TEST(InstructionsTest, TensorCopies) {
  for (const BoxSpec& box : kBoxes) {
    SCOPED_TRACE(box.name);
    const Instruction& load = Find(std::string("TmaLoad, ") + box.name);
    const auto tensor = Random(load), loaded = Execute(load, tensor);
    std::vector<uint32_t> to_store = RandomWords(Words::kBits, BoxWords(box), 9), stored, expected;
    if (CanStore(box)) {
      stored = Execute(Find(std::string("TmaStore, ") + box.name), to_store);
      expected.assign(stored.size(), 0xffffffffu);
    }
    const int64_t size = box.element_bytes, elements = BoxWords(box) * int64_t{4} / size;
    for (int64_t e = 0; e < elements; ++e) {
      int64_t rest = e, at = 0, step = 1;
      bool inside = true;
      for (int i = 0; i < box.rank; ++i) {
        const int64_t index = box.at[i] + rest % box.box[i];
        inside &= index >= 0 && index < box.dims[i];
        at += index * step;
        step *= box.dims[i];
        rest /= box.box[i];
      }
      const int64_t place = Swizzled(e * size, box.swizzle);
      const char zeros[4] = {};
      const auto* in_tensor = inside ? reinterpret_cast<const char*>(tensor.data()) + at * size : zeros;
      ASSERT_EQ(std::memcmp(reinterpret_cast<const char*>(loaded.data()) + place, in_tensor, static_cast<size_t>(size)), 0) << "element " << e;
      if (inside && CanStore(box)) {
        std::memcpy(reinterpret_cast<char*>(expected.data()) + at * size, reinterpret_cast<const char*>(to_store.data()) + place, static_cast<size_t>(size));
      }
    }
    EXPECT_EQ(stored, expected) << "what lies outside the box must stay";
  }
}

// "Shared Memory Matrix Layout" of wgmma. K-major: 8-row groups follow each other, rows of the swizzle's span (16 of whose elements are used here); without
// swizzle, cores of 8 rows by 16 bytes, the two of k side by side. N-major: rows of k, 64 columns each; eight rows a group, runs of 64 columns 2,048 bytes apart.
int64_t KMajorByte(int row, int k, Swizzle swizzle) {
  if (swizzle == Swizzle::kNone) return row / 8 * 256 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2;
  const int span = swizzle == Swizzle::k128 ? 128 : swizzle == Swizzle::k64 ? 64 : 32;
  return Swizzled(int64_t{row} * span + k * 2, swizzle);
}
int64_t NMajorByte(int k, int column) { return Swizzled(column / 64 * 2048 + k * 128 + column % 64 * 2, Swizzle::k128); }

void CheckWgmma(const std::string& name, int n, bool n_major, Swizzle swizzle, bool registers) {
  SCOPED_TRACE(name);
  const Instruction& instruction = Find(name);
  std::vector<uint32_t> in(static_cast<size_t>(instruction.words_in));
  for (int row = 0; row < 64 && !registers; ++row) {
    for (int k = 0; k < 16; ++k) PutHalf(in, KMajorByte(row, k, swizzle) / 2, Bf16Of(A(row, k)));
  }
  for (int thread = 0; thread < 128 && registers; ++thread) {
    for (int i = 0; i < 8; ++i) {
      const int row = thread / 32 * 16 + thread % 32 / 4 + (i / 2 % 2 == 1 ? 8 : 0), k = thread % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0);
      PutHalf(in, thread * 8 + i, Bf16Of(A(row, k)));
    }
  }
  for (int column = 0; column < n; ++column) {
    for (int k = 0; k < 16; ++k) PutHalf(in, (16384 + (n_major ? NMajorByte(k, column) : KMajorByte(column, k, swizzle))) / 2, Bf16Of(B(k, column)));
  }
  const auto out = Execute(instruction, in);
  for (int thread = 0; thread < 128; ++thread) {
    for (int i = 0; i < n / 2; ++i) {
      const int row = thread / 32 * 16 + thread % 32 / 4 + (i / 2 % 2 == 1 ? 8 : 0), column = i / 4 * 8 + thread % 4 * 2 + i % 2;
      ASSERT_EQ(FloatOf(out[static_cast<size_t>(thread * (n / 2) + i)]), 2 * Product(row, column, 16)) << "thread " << thread << " register " << i;
    }
  }
}

TEST(InstructionsTest, WarpgroupProducts) {
  CheckWgmma("wgmma, A shared, N 64, no swizzle", 64, false, Swizzle::kNone, false);
  CheckWgmma("wgmma, A shared, N 64, 32-byte swizzle", 64, false, Swizzle::k32, false);
  CheckWgmma("wgmma, A shared, N 64, 64-byte swizzle", 64, false, Swizzle::k64, false);
  CheckWgmma("wgmma, A shared, N 64, 128-byte swizzle", 64, false, Swizzle::k128, false);
  CheckWgmma("wgmma, A shared, N 128, 128-byte swizzle", 128, false, Swizzle::k128, false);
  CheckWgmma("wgmma, A shared, N 128, B N-major", 128, true, Swizzle::k128, false);
  CheckWgmma("wgmma, A in registers, N 64", 64, false, Swizzle::k128, true);
  CheckWgmma("wgmma, A in registers, N 128, B N-major", 128, true, Swizzle::k128, true);
}

}  // namespace
}  // namespace precis::gpu_test
