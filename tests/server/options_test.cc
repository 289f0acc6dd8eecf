#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "server/option_value.h"
#include "server/text.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;

class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest() {
    std::string name = ::testing::TempDir() + "/options-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~OptionsTest() override { std::system(("rm -rf " + directory_).c_str()); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  std::string directory_;
};

std::string ErrorOf(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& env = {}) {
  return std::string(LoadConfiguration(arguments, env).status().message());
}

// A value of each option that is not its default.
std::string OtherValue(const OptionSpec& spec) {
  const std::map<std::string, std::string> texts = {
      {"HOST:PORT", "127.0.0.1:7"}, {"NAME=DIR", "a=b"}, {"FILE", "/some/file"}, {"TIME", "77s"},
      {"BYTES", "3MiB"},            {"N", "77"},         {"DTYPE", "bf16"},      {"ISA", "portable"},
      {"FORMAT", "text"},           {"LEVEL", "error"},  {"NAME", "cpu"}};
  if (spec.is_switch) return spec.get(ServerOptions())[0] == "on" ? "off" : "on";
  return texts.at(spec.value);
}

TEST_F(OptionsTest, FlagFileAndEnvironmentAgreeForEveryOption) {
  for (const OptionSpec& spec : OptionTable()) {
    const std::string value = OtherValue(spec);
    const auto read = [&](const std::vector<std::string>& arguments, const std::map<std::string, std::string>& env) {
      absl::StatusOr<Configuration> configuration = LoadConfiguration(arguments, env);
      EXPECT_TRUE(configuration.ok()) << spec.name << ": " << configuration.status();
      return configuration.ok() ? spec.get(configuration->options) : std::vector<std::string>();
    };
    const auto flag = read({"--" + spec.name + "=" + value}, {});
    const auto separate = spec.is_switch ? flag : read({"--" + spec.name, value}, {});
    const auto environment = read({}, {{EnvironmentName(spec), value}});
    const auto file = read({"--config=" + Write("c.yaml", KeyName(spec) + ": \"" + value + "\"\n")}, {});
    ASSERT_EQ(flag.size(), 1u) << spec.name;
    EXPECT_NE(flag, spec.get(ServerOptions())) << spec.name;
    EXPECT_EQ(flag, separate) << spec.name;
    EXPECT_EQ(flag, environment) << spec.name;
    EXPECT_EQ(flag, file) << spec.name;
    EXPECT_THAT(HelpText(), HasSubstr("--" + spec.name + "="));
    EXPECT_THAT(HelpText(), HasSubstr(EnvironmentName(spec)));
  }
}

TEST_F(OptionsTest, TheReadmeHasEveryOptionWithItsDefault) {
  std::ifstream stream(PRECIS_SOURCE_DIR "/server/README.md");
  const std::string readme{std::istreambuf_iterator<char>(stream), {}};
  for (const OptionSpec& spec : OptionTable()) {
    std::string fallback = spec.repeated ? "" : spec.get(ServerOptions())[0];
    const std::string value = spec.is_switch ? "on\\|off" : spec.value;
    EXPECT_THAT(readme, HasSubstr(StrCat("| `--", spec.name, "=", value, "` | ", fallback.empty() ? "none" : fallback, " |")));
  }
}

TEST_F(OptionsTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string file = Write("c.yaml", "threads: 3\nmax_batch_rows: 4\nmax_step_tokens: 5\nmodel: [a=1, b=2]\n");
  const auto configuration =
      LoadConfiguration({"--config", file, "--threads=9", "--model=c=3"},
                        {{"PRECIS_THREADS", "8"}, {"PRECIS_MAX_BATCH_ROWS", "7"}, {"PRECIS_MODEL", "d=4,e=5"}});
  ASSERT_TRUE(configuration.ok()) << configuration.status();
  EXPECT_EQ(configuration->options.engine.threads, 9);
  EXPECT_EQ(configuration->options.engine.max_batch_rows, 7);
  EXPECT_EQ(configuration->options.engine.max_step_tokens, 5);
  EXPECT_EQ(configuration->options.engine.max_queued_requests, 1024);
  ASSERT_EQ(configuration->options.models.size(), 1u);
  EXPECT_EQ(configuration->options.models[0].name, "c");
  EXPECT_EQ(configuration->origin.at("threads"), "flag");
  EXPECT_EQ(configuration->origin.at("max-batch-rows"), "environment");
  EXPECT_EQ(configuration->origin.at("max-step-tokens"), "file");
}

TEST_F(OptionsTest, RepeatedFlagsAdd) {
  const auto configuration = LoadConfiguration({"--model=a=x=y", "--model", "a=z"}, {});
  ASSERT_TRUE(configuration.ok());
  ASSERT_EQ(configuration->options.models.size(), 2u);
  EXPECT_EQ(configuration->options.models[0].directory, "x=y");
  EXPECT_EQ(configuration->options.models[1].directory, "z");
}

TEST_F(OptionsTest, UnknownNamesAreErrorsWithASuggestion) {
  EXPECT_THAT(ErrorOf({"--lisen=x:1"}), HasSubstr("did you mean '--listen'?"));
  EXPECT_THAT(ErrorOf({"stray"}), HasSubstr("unexpected argument 'stray'"));
  EXPECT_THAT(ErrorOf({"--threads"}), HasSubstr("needs a value"));
  EXPECT_THAT(ErrorOf({}, {{"PRECIS_THREDS", "1"}}), HasSubstr("did you mean 'PRECIS_THREADS'?"));
  EXPECT_THAT(ErrorOf({"--config=" + Write("c.yaml", "\nkv-cache-bytes: 1GiB\n")}),
              HasSubstr("c.yaml:2: unknown key 'kv-cache-bytes'; did you mean 'kv_cache_bytes'?"));
  // What Kubernetes sets beside a Service called precis is not ours.
  EXPECT_EQ(ErrorOf({}, {{"PRECIS_SERVICE_HOST", "x"}, {"PRECIS_PORT_50051_TCP_ADDR", "x"}, {"PRECIS_PORT", "x"}}), "");
}

TEST_F(OptionsTest, BadFilesSayWhere) {
  EXPECT_THAT(ErrorOf({"--config=/nonexistent"}), HasSubstr("can't be read"));
  EXPECT_THAT(ErrorOf({"--config=" + Write("a.yaml", "threads: [1")}), HasSubstr("a.yaml:"));
  EXPECT_THAT(ErrorOf({"--config=" + Write("b.yaml", "threads: 1\nthreads: 2\n")}), HasSubstr("b.yaml:2: threads is given twice"));
  EXPECT_THAT(ErrorOf({"--config=" + Write("c.yaml", "threads: {a: 1}\n")}), HasSubstr("takes a single value"));
  EXPECT_THAT(ErrorOf({"--config=" + Write("d.yaml", "- threads\n")}), HasSubstr("expected lines of"));
  EXPECT_THAT(ErrorOf({"--config=" + Write("e.yaml", "threads: many\n")}), HasSubstr("e.yaml:1: threads=many: expected a whole number"));
  EXPECT_EQ(ErrorOf({"--config=" + Write("f.yaml", "")}), "");
}

TEST_F(OptionsTest, ExperimentsSayTheLineAtFault) {
  const auto error = [&](const std::string& text) { return ErrorOf({"--config=" + Write("x.yaml", text)}); };
  const std::string arms = "    arms:\n      - {name: a, attention_backend: flash}\n      - {name: b, attention_backend: standard}\n";
  EXPECT_EQ(error("experiments:\n  - name: one\n" + arms), "");
  EXPECT_THAT(error("experiments:\n  - name: one\n    sallt: x\n"), HasSubstr("x.yaml:3: unknown key 'sallt'"));
  EXPECT_THAT(error("experiments:\n  - name: one\n    arms:\n      - {name: a, weight: -1}\n"), HasSubstr("x.yaml:4: weight '-1'"));
  EXPECT_THAT(error("experiments:\n  - name: one\n"), HasSubstr("0 arms given"));
  EXPECT_THAT(error("experiments:\n  - name: one\n" + arms + "  - name: two\n" + arms), HasSubstr("x.yaml:6: experiment 'two': it and 'one' may take the same requests"));
  EXPECT_THAT(error("experiments: 5\n"), HasSubstr("x.yaml:1: experiments must be a list"));
  EXPECT_THAT(error("experiments:\n  - name: none\n" + arms), HasSubstr("not 'none'"));
}

TEST_F(OptionsTest, DumpReadsBackAsItself) {
  const std::string file = Write("c.yaml",
                                 "log_file: \"a \\\"b\\\" # c\\n\\t\\x01 d\"\nmodel: [a=b, a=c]\nkv_cache_bytes: 3GiB\nexperiments:\n  - name: e\n    salt: s\n    arms: "
                                 "[{name: x, weight: 3, attention_backend: flash}, {name: y, attention_backend: standard, model: a}]\n");
  const auto first = LoadConfiguration({"--config=" + file}, {});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string dump = DumpConfiguration(*first);
  const auto second = LoadConfiguration({"--config=" + Write("dump.yaml", dump)}, {});
  ASSERT_TRUE(second.ok()) << second.status() << "\n" << dump;
  for (const OptionSpec& spec : OptionTable()) EXPECT_EQ(spec.get(first->options), spec.get(second->options)) << spec.name;
  ASSERT_EQ(second->experiments.experiments.size(), 1u);
  EXPECT_EQ(second->experiments.experiments[0].arms[0].weight, 3u);
  EXPECT_EQ(second->experiments.experiments[0].arms[1].model, "a");
}

TEST_F(OptionsTest, ValidationOfTheWhole) {
  Write("config.json", "{}");
  const auto check = [&](std::vector<std::string> arguments) {
    arguments.push_back("--model=news=" + directory_);
    const auto configuration = LoadConfiguration(arguments, {});
    EXPECT_TRUE(configuration.ok()) << configuration.status();
    return std::string(ValidateConfiguration(*configuration).message());
  };
  EXPECT_EQ(check({}), "");
  EXPECT_THAT(check({"--listen=nowhere"}), HasSubstr("expected HOST:PORT"));
  EXPECT_THAT(check({"--listen=host:70000"}), HasSubstr("0 to 65535"));
  EXPECT_THAT(check({"--tls-cert=x"}), HasSubstr("need each other"));
  EXPECT_THAT(check({"--tls-client-ca=x"}), HasSubstr("--tls-client-ca needs"));
  EXPECT_THAT(check({"--tls-cert=/none", "--tls-key=/none"}), HasSubstr("/none can't be read"));
  EXPECT_THAT(check({"--auth-tokens-file=/none"}), HasSubstr("can't be read"));
  EXPECT_THAT(check({"--auth-tokens-file=" + Write("short", "abc\n")}), HasSubstr("short:1: a token of 3 characters"));
  EXPECT_THAT(check({"--max-message-bytes=64KiB"}), HasSubstr("could never arrive"));
  EXPECT_THAT(check({"--model=other=/none"}), HasSubstr("/none/config.json"));
  const auto experiment = [&](const std::string& extra) {
    return check({"--config=" + Write("e.yaml", "experiments:\n  - name: e\n    arms: [{name: x, attention_backend: flash}, {name: y, " + extra + "}]\n")});
  };
  EXPECT_THAT(experiment("attention_backend: flush"), HasSubstr("unknown attention_backend 'flush'"));
  EXPECT_THAT(experiment("attention_backend: standard, model: nope"), HasSubstr("names model 'nope'"));
  EXPECT_EQ(experiment("attention_backend: standard, model: news"), "");
  const std::string token = "--peer-token-file=" + Write("peer", "a-token-0123456789\n"), peer = "--experiment-peer=there:1";
  EXPECT_EQ(check({peer}), "");
  EXPECT_THAT(check({peer, "--auth-tokens-file=" + Write("tokens", "a-token-0123456789\n")}), HasSubstr("--experiment-peer needs --peer-token-file"));
  EXPECT_THAT(check({peer, token}), HasSubstr("would go to there:1 in plain text"));
  EXPECT_EQ(check({peer, token, "--peer-plaintext-token"}), "");
  EXPECT_EQ(check({"--experiment-peer=127.0.0.1:1", "--experiment-peer=unix:/x", token}), "");
  EXPECT_THAT(check({peer, "--peer-token-file=/none"}), HasSubstr("--peer-token-file=/none can't be read"));
  EXPECT_THAT(check({peer, "--peer-token-file=" + Write("two", "a-token b-token")}), HasSubstr("one token and nothing else"));
  EXPECT_THAT(check({peer, "--peer-tls-ca=/none"}), HasSubstr("--peer-tls-ca=/none can't be read"));
  EXPECT_THAT(check({peer, "--peer-tls-cert=x"}), HasSubstr("need each other"));
  EXPECT_THAT(check({peer, "--peer-tls-name=x"}), HasSubstr("need --peer-tls-ca"));
  const auto none = LoadConfiguration({}, {});
  EXPECT_THAT(std::string(ValidateConfiguration(*none).message()), HasSubstr("--model=NAME=DIR"));
}

TEST(OptionValueTest, Bytes) {
  const auto bytes = [](std::string_view text) { return ParseBytes(text, 0, int64_t{1} << 50).value_or(-1); };
  EXPECT_EQ(bytes("4096"), 4096);
  EXPECT_EQ(bytes("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(bytes("1.5GiB"), (int64_t{3} << 30) / 2);
  EXPECT_EQ(bytes("2GB"), 2'000'000'000);
  EXPECT_EQ(bytes("7B"), 7);
  for (const char* bad : {"", "MiB", "-1", "1.5", "5 apples", "99999999TiB", "nanKiB", "1e400MiB", "0x10"}) {
    EXPECT_EQ(bytes(bad), -1) << bad;
  }
  EXPECT_EQ(FormatBytes(int64_t{512} << 20), "512MiB");
  EXPECT_EQ(FormatBytes(1000), "1000");
}

TEST(OptionValueTest, TimesAndSwitches) {
  const auto time = [](std::string_view text) { return ParseTime(text, absl::ZeroDuration(), absl::InfiniteDuration()); };
  EXPECT_EQ(time("1m30s").value(), absl::Seconds(90));
  EXPECT_EQ(time("inf").value(), absl::InfiniteDuration());
  for (const char* bad : {"", "5", "-3s", "soon"}) EXPECT_FALSE(time(bad).ok()) << bad;
  EXPECT_TRUE(ParseSwitch("On").value());
  EXPECT_FALSE(ParseSwitch("no").value());
  EXPECT_FALSE(ParseSwitch("maybe").ok());
}

}  // namespace
}  // namespace precis::server
