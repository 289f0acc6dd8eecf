#include "server/logger.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>

#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "server/text.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class LoggerTest : public ::testing::Test {
 protected:
  LoggerTest() {
    std::string name = ::testing::TempDir() + "/logger-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~LoggerTest() override { std::system(("rm -rf " + directory_).c_str()); }
  std::string directory_;
};

LogFields AllKinds() {
  return LogFields()
      .Add("text", "a \"quoted\"\nline\x01\xff")
      .Add("int", int64_t{-5})
      .Add("number", 0.25)
      .Add("nan", std::numeric_limits<double>::quiet_NaN())
      .Add("flag", true)
      .Add("time_ms", absl::Milliseconds(1500))
      .AddIfSet("absent", "");
}

TEST_F(LoggerTest, JsonLinesParse) {
  const std::string line = FormatLogLine(LogFormat::kJson, absl::FromUnixMillis(1), LogLevel::kInfo, "m\"", AllKinds());
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "1970-01-01T00:00:00.001000Z");
  EXPECT_EQ(json["level"], "info");
  EXPECT_EQ(json["message"], "m\"");
  EXPECT_EQ(json["text"], "a \"quoted\"\nline\x01\xef\xbf\xbd");
  EXPECT_EQ(json["int"], -5);
  EXPECT_EQ(json["number"], 0.25);
  EXPECT_TRUE(json["nan"].is_null());
  EXPECT_EQ(json["flag"], true);
  EXPECT_EQ(json["time_ms"], 1500);
  EXPECT_FALSE(json.contains("absent"));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST_F(LoggerTest, TextLines) {
  EXPECT_EQ(FormatLogLine(LogFormat::kText, absl::UnixEpoch(), LogLevel::kError, "went wrong",
                          LogFields().Add("a", "plain").Add("b", "two words").Add("n", 3)),
            "1970-01-01T00:00:00.000000Z error \"went wrong\" a=plain b=\"two words\" n=3\n");
}

TEST_F(LoggerTest, WritesInOrderAndRespectsTheLevel) {
  const std::string file = directory_ + "/log";
  {
    auto log = Logger::Open({LogFormat::kText, LogLevel::kWarning, file, 1 << 20});
    ASSERT_TRUE(log.ok()) << log.status();
    (*log)->Log(LogLevel::kInfo, "hidden");
    for (int i = 0; i < 1000; ++i) (*log)->Log(LogLevel::kWarning, "seen", LogFields().Add("i", i));
  }
  const std::string text = ReadFile(file);
  EXPECT_EQ(text.find("hidden"), std::string::npos);
  size_t at = 0;
  for (int i = 0; i < 1000; ++i) {
    at = text.find(StrCat(" i=", i, "\n"), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST_F(LoggerTest, AFullDiskDropsAndCounts) {
  auto log = Logger::Open({LogFormat::kJson, LogLevel::kInfo, "/dev/full", 1 << 20});
  ASSERT_TRUE(log.ok()) << log.status();
  const absl::Time start = absl::Now();
  for (int i = 0; i < 500; ++i) (*log)->Log(LogLevel::kInfo, "lost");
  (*log)->Flush(absl::Seconds(10));
  EXPECT_EQ((*log)->dropped(), 500);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(LoggerTest, SaysHowManyWereLostOnceThereIsRoom) {
  const std::string file = directory_ + "/log";
  ASSERT_EQ(symlink("/dev/full", file.c_str()), 0);
  auto log = Logger::Open({LogFormat::kText, LogLevel::kInfo, file, 1 << 20});
  ASSERT_TRUE(log.ok());
  for (int i = 0; i < 7; ++i) (*log)->Log(LogLevel::kInfo, "lost");
  (*log)->Flush(absl::Seconds(10));
  ASSERT_EQ(unlink(file.c_str()), 0);
  (*log)->Reopen();
  (*log)->Log(LogLevel::kInfo, "kept");
  (*log)->Flush(absl::Seconds(10));
  EXPECT_THAT(ReadFile(file), HasSubstr("kept"));
  EXPECT_THAT(ReadFile(file), HasSubstr("lost=7"));
}

TEST_F(LoggerTest, AReaderThatStopsBlocksNobody) {
  const std::string pipe = directory_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  const absl::Time start = absl::Now();
  {
    auto log = Logger::Open({LogFormat::kText, LogLevel::kInfo, pipe, 256 << 10});
    ASSERT_TRUE(log.ok());
    for (int i = 0; i < 5000; ++i) (*log)->Log(LogLevel::kInfo, std::string(200, 'x'));
    EXPECT_LT(absl::Now() - start, absl::Seconds(5));
    EXPECT_GT((*log)->dropped(), 0);
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));  // the destructor doesn't wait for the reader either
  close(reader);
}

TEST_F(LoggerTest, RefusesAFileThatCannotBeOpened) {
  EXPECT_THAT(std::string(Logger::Open({LogFormat::kJson, LogLevel::kInfo, "/nonexistent/log", 1}).status().message()),
              HasSubstr("--log-file=/nonexistent/log can't be opened"));
}

}  // namespace
}  // namespace precis::server
