#include "runtime/model/safetensors.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A file of this header text and so many bytes of data.
std::string File(std::string_view header, size_t data_bytes) {
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + std::string(header) + std::string(data_bytes, 'x');
}

std::string ErrorOf(std::string_view file) {
  const auto tensors = ParseSafetensors(file, "dir/model.safetensors");
  if (tensors.ok()) return "accepted";
  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(tensors.status().message());
  EXPECT_EQ(message.rfind("dir/model.safetensors: ", 0), 0u) << message;
  return message;
}

TEST(Safetensors, ReadsTensors) {
  const std::string file = File(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"},"none":{"dtype":"I8","shape":[0,7],"data_offsets":[16,16]}}  )",
      16);
  const auto tensors = ParseSafetensors(file, "f");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 3u);
  const TensorView& b = tensors->at("b");
  EXPECT_EQ(b.dtype, TensorDType::kBf16);
  EXPECT_THAT(b.shape(), ElementsAre(2, 3));
  EXPECT_EQ(b.data, file.data() + file.size() - 12);
  EXPECT_EQ(b.bytes, 12);
  EXPECT_EQ(tensors->at("a").rank, 0);
  EXPECT_EQ(tensors->at("none").bytes, 0);
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string file = File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  ASSERT_TRUE(ParseSafetensors(file, "f").ok());
  for (size_t size = 0; size < file.size(); ++size) {
    // In memory of exactly that size, so that a sanitizer sees reads past its end.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(ErrorOf({cut.data(), cut.size()}), "accepted") << size;
  }
  EXPECT_THAT(ErrorOf(file + "z"), HasSubstr("1 bytes after the last tensor"));
}

TEST(Safetensors, RefusesLyingLengths) {
  std::string file = File("{}", 0);
  EXPECT_EQ(ErrorOf(file), "accepted");
  std::memset(file.data(), 0xff, 8);
  EXPECT_THAT(ErrorOf(file), HasSubstr("18446744073709551615"));
  std::string large(8 + kMaxSafetensorsHeaderBytes + 1, ' ');
  const uint64_t length = kMaxSafetensorsHeaderBytes + 1;
  std::memcpy(large.data(), &length, 8);
  EXPECT_THAT(ErrorOf(large), HasSubstr("at most"));
}

struct Refusal {
  const char* name;
  const char* header;
  size_t data_bytes;
  const char* message;
};

class SafetensorsRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(SafetensorsRefusal, SaysWhy) {
  EXPECT_THAT(ErrorOf(File(GetParam().header, GetParam().data_bytes)), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsRefusal,
    testing::Values(
        Refusal{"NoJson", "hello", 0, "not valid JSON"}, Refusal{"Empty", "", 0, "not valid JSON"},
        Refusal{"CutJson", R"({"a":)", 0, "not valid JSON"}, Refusal{"Array", "[]", 0, "an array where none belongs"},
        Refusal{"Number", "7", 0, "a number where none belongs"}, Refusal{"Trailing", "{}{}", 0, "not valid JSON"},
        Refusal{"TensorIsNull", R"({"a":null})", 0, "tensor 'a': the header has null"},
        Refusal{"MissingDtype", R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "tensor 'a': needs 'dtype'"},
        Refusal{"UnknownKey", R"({"a":{"colour":1}})", 0, "unknown key 'colour'"},
        Refusal{"KeyTwice", R"({"a":{"dtype":"F32","dtype":"F32"}})", 0, "'dtype' is given twice"},
        Refusal{"NameTwice",
                R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
                2, "tensor 'a': is listed twice"},
        Refusal{"UnknownDtype", R"({"a":{"dtype":"F12","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype 'F12'"},
        Refusal{"NegativeDim", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative number"},
        Refusal{"FractionalDim", R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "no 64-bit integer"},
        Refusal{"HugeDim", R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
                "no 64-bit integer"},
        Refusal{"OverflowingProduct",
                R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})", 0, "doesn't fill"},
        Refusal{"WrappingProduct", R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", 4,
                "doesn't fill"},
        Refusal{"AbsurdBesideZero", R"({"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}})", 0,
                "absurd"},
        Refusal{"TooManyDims", R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
                "more than 8 dimensions"},
        Refusal{"ShapeTooLarge", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "doesn't fill the 4 bytes"},
        Refusal{"ShapeTooSmall", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8, "doesn't fill the 8 bytes"},
        Refusal{"PastTheEnd", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "outside of the file's 4 bytes"},
        Refusal{"Backwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "data_offsets [4, 0]"},
        Refusal{"OneOffset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4, "needs two numbers"},
        Refusal{"ThreeOffsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4, "a number where none"},
        Refusal{"NestedShape", R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "an array where none"},
        Refusal{"Gap",
                R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"I8","shape":[1],"data_offsets":[2,3]}})",
                3, "tensor 'b': starts at 2, but the tensors before it end at 1: a gap"},
        Refusal{"Overlap",
                R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}})",
                3, "tensor 'b': starts at 1, but the tensors before it end at 2: they overlap"},
        Refusal{"Leftover", R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})", 5, "3 bytes after the last tensor"},
        Refusal{"MetadataNumber", R"({"__metadata__":{"format":1}})", 0, "a number where none belongs"},
        Refusal{"BadUtf8", "{\"\xff\":{}}", 0, "not valid JSON"}),
    [](const auto& info) { return info.param.name; });

TEST(Safetensors, DeepNestingEndsAtOnce) {
  EXPECT_THAT(ErrorOf(File(std::string(1 << 20, '['), 0)), HasSubstr("an array where none"));
  EXPECT_THAT(ErrorOf(File(R"({"a":{"dtype":)" + std::string(1 << 20, '['), 0)), HasSubstr("an array where none"));
}

TEST(Safetensors, NamesInErrorsAreCutAndEscaped) {
  const std::string message = ErrorOf(File("{\"\\u0007" + std::string(5000, 'n') + "\":1}", 0));
  EXPECT_LT(message.size(), 300u);
  EXPECT_THAT(message, HasSubstr("\\x07nnn"));
}

TEST(Safetensors, LimitsTheNumberOfTensors) {
  std::string header = "{";
  for (int i = 0; i <= kMaxSafetensorsTensors; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"I8","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_THAT(ErrorOf(File(header + "}", 0)), HasSubstr("more than 65536 tensors"));
}

}  // namespace
}  // namespace precis::runtime
