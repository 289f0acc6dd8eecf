// The tokens file and what its tokens allow.
#include "server/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/time/clock.h"
#include "server/text.h"

namespace precis::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class AuthTest : public ::testing::Test {
 protected:
  AuthTest() : file_(::testing::TempDir() + StrCat("/tokens-", getpid())) {}
  ~AuthTest() override { unlink(file_.c_str()); }
  void Write(const std::string& text) { std::ofstream(file_) << text; }
  std::string Error(const std::string& text) {
    Write(text);
    return std::string(ReadTokens(file_).status().message());
  }
  std::string file_;
};

TEST_F(AuthTest, AcceptsKnownTokensOnly) {
  Write("# comment\n\n  first-token-0123456789  \nsecond-token-0123456789\r\n");
  auto auth = Authenticator::Create(file_, absl::Hours(1));
  ASSERT_TRUE(auth.ok()) << auth.status();
  EXPECT_TRUE((*auth)->Check("Bearer first-token-0123456789").ok());
  EXPECT_TRUE((*auth)->Check("bearer second-token-0123456789").ok());
  for (const char* bad : {"", "Bearer ", "Bearer first-token-012345678", "Bearer # comment", "Basic first-token-0123456789",
                          "first-token-0123456789", "Bearer first-token-01234567890"}) {
    EXPECT_TRUE(absl::IsUnauthenticated((*auth)->Check(bad).status())) << bad;
  }
}

TEST_F(AuthTest, ReadsNamesPermissionsAndModels) {
  Write("everything-0123456789\n"
        "summarizer-0123456789\tname=batch-jobs  allow=summarize models=news,legal\n"
        "inspector-0123456789 allow=list,reflection\n");
  const auto entries = ReadTokens(file_);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3u);
  const Grant &all = (*entries)[0].grant, &batch = (*entries)[1].grant, &inspector = (*entries)[2].grant;
  EXPECT_EQ(all.name, "line 1");
  EXPECT_THAT(all.permissions, IsEmpty());
  for (const Permission permission : kPermissions) EXPECT_TRUE(all.Allows(permission));
  EXPECT_TRUE(all.AllowsModel("any"));
  EXPECT_EQ((*entries)[1].token, "summarizer-0123456789");
  EXPECT_EQ(batch.name, "batch-jobs");
  EXPECT_THAT(batch.permissions, ElementsAre(Permission::kSummarize));
  EXPECT_THAT(batch.models, ElementsAre("news", "legal"));
  EXPECT_FALSE(inspector.Allows(Permission::kSummarize));
  EXPECT_TRUE(inspector.Allows(Permission::kReflection));
}

TEST_F(AuthTest, RefusalsSayWhatIsAllowed) {
  Grant grant;
  grant.name = "batch-jobs";
  grant.permissions = {Permission::kSummarize, Permission::kList};
  grant.models = {"news", "legal"};
  EXPECT_TRUE(grant.Check(Permission::kList, "ListModels").ok());
  const absl::Status call = grant.Check(Permission::kReflection, "ServerReflectionInfo");
  EXPECT_TRUE(absl::IsPermissionDenied(call));
  EXPECT_THAT(std::string(call.message()),
              HasSubstr("the token 'batch-jobs' allows summarize, list; ServerReflectionInfo needs reflection"));
  EXPECT_TRUE(grant.CheckModel("legal").ok());
  const absl::Status model = grant.CheckModel("poems");
  EXPECT_TRUE(absl::IsPermissionDenied(model));
  EXPECT_THAT(std::string(model.message()), HasSubstr("does not allow model 'poems', only news, legal"));
}

TEST_F(AuthTest, RefusesFilesThatItDoesNotUnderstandWithoutShowingTokens) {
  EXPECT_THAT(std::string(ReadTokens("/nonexistent").status().message()), HasSubstr("can't be read"));
  EXPECT_THAT(Error("# none\n"), HasSubstr("holds no token"));
  EXPECT_THAT(Error("long-enough-token-1\nshort-secret\n"), HasSubstr(":2: a token of 12 characters"));
  EXPECT_THAT(Error("long-enough-secret-1 second-secret\n"), HasSubstr(":1: word 2 is none of name=NAME, allow="));
  EXPECT_THAT(Error("long-enough-secret-1 allow=summarise\n"),
              HasSubstr("allow= has 'summarise'; known are summarize, list, reflection, outcomes, experiments, admin"));
  EXPECT_THAT(Error("long-enough-secret-1 allow=\n"), HasSubstr("allow= has no value"));
  EXPECT_THAT(Error("long-enough-secret-1\nlong-enough-secret-1 name=x\n"), HasSubstr(":2: a token that an earlier line"));
  for (const char* text : {"short-secret\n", "long-enough-secret-1 second-secret\n", "long-enough-secret-1 secret=secret\n"}) {
    EXPECT_THAT(Error(text), Not(HasSubstr("secret"))) << text;
  }
}

TEST_F(AuthTest, ReloadsAndKeepsTheOldTokensIfTheFileIsBad) {
  Write("first-token-0123456789\n");
  auto auth = Authenticator::Create(file_, absl::Milliseconds(1));
  ASSERT_TRUE(auth.ok());
  Write("");
  absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE((*auth)->Check("Bearer first-token-0123456789").ok());
  EXPECT_THAT((*auth)->last_error(), HasSubstr("holds no token"));
  Write("second-token-0123456789 models=news\n");
  absl::SleepFor(absl::Milliseconds(5));
  EXPECT_FALSE((*auth)->Check("Bearer first-token-0123456789").ok());
  const auto grant = (*auth)->Check("Bearer second-token-0123456789");
  ASSERT_TRUE(grant.ok());
  EXPECT_FALSE((*grant)->AllowsModel("plain"));
  EXPECT_EQ((*auth)->last_error(), "");
}

}  // namespace
}  // namespace precis::server
