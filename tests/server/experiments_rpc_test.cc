// precis.v1.Experiments over real sockets.
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "precis/v1/experiments.grpc.pb.h"
#include "server/experiments/assignment.h"
#include "tests/server/service_fixture.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;
using precis::v1::Experiments;

constexpr char kTwoArms[] =
    "experiments:\n"
    "  - name: e\n"
    "    salt: s\n"
    "    model: news\n"
    "    arms: [{name: control, attention_backend: standard}, {name: flash, attention_backend: flash}]\n";

class ExperimentsRpcTest : public ServiceTest {
 protected:
  void SetUp() override {
    configuration_.options.experiments_file = directory_ + "/experiments.yaml";
    configuration_.options.experiments_reload = absl::Hours(1);
    configuration_.options.experiments_check = absl::Hours(1);
    configuration_.options.models = {{"news", "x"}, {"plain", "y"}};
    Write(kTwoArms);
  }

  void Write(const std::string& text) { std::ofstream(configuration_.options.experiments_file, std::ios::trunc) << text; }

  void StartAll() {
    Start();
    experiments_ = Experiments::NewStub(MakeChannel());
  }

  template <typename Response, typename Method, typename Request>
  std::pair<grpc::Status, Response> Ask(Method method, const Request& request, const std::string& token = "") {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    Response response;
    const grpc::Status status = (experiments_.get()->*method)(&context, request, &response);
    return {status, response};
  }

  precis::v1::Report GetReport() {
    precis::v1::GetReportRequest request;
    request.set_name("e");
    auto [status, report] = Ask<precis::v1::Report>(&Experiments::Stub::GetReport, request);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return report;
  }

  // The first unit that the arm gets.
  std::string UnitOf(const std::string& arm) {
    Experiment e;
    e.salt = "s";
    e.arms = {{"control", 1, "standard", "", {}}, {"flash", 1, "flash", "", {}}};
    for (int i = 0;; ++i) {
      if (ChooseArm(e, StrCat("unit-", i)).name == arm) return StrCat("unit-", i);
    }
  }

  precis::v1::SummarizeRequest From(const std::string& unit) {
    precis::v1::SummarizeRequest request = Request();
    request.set_unit_id(unit);
    return request;
  }

  std::unique_ptr<Experiments::Stub> experiments_;
};

TEST_F(ExperimentsRpcTest, RequestsAndOutcomesArriveInTheReport) {
  StartAll();
  const Outcome outcome = Call(From(UnitOf("flash")));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.response.request_id(), Initial(*outcome.context, "x-request-id"));
  EXPECT_EQ(outcome.response.assignment().arm(), "flash");
  precis::v1::RecordOutcomeRequest record;
  record.set_request_id(outcome.response.request_id());
  record.add_outcomes()->set_name("thumbs");
  record.mutable_outcomes(0)->set_value(1);
  auto [status, recorded] = Ask<precis::v1::RecordOutcomeResponse>(&Experiments::Stub::RecordOutcome, record);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(recorded.counted(), 1);
  EXPECT_EQ(recorded.arm(), "flash");
  EXPECT_EQ(Ask<precis::v1::RecordOutcomeResponse>(&Experiments::Stub::RecordOutcome, record).second.already_known(), 1);
  record.set_request_id("nobody's");
  EXPECT_EQ(Ask<precis::v1::RecordOutcomeResponse>(&Experiments::Stub::RecordOutcome, record).first.error_code(), grpc::StatusCode::NOT_FOUND);

  // A forced backend and another model are not part of it.
  precis::v1::SummarizeRequest forced = From(UnitOf("flash"));
  forced.set_attention_backend("flash");
  EXPECT_TRUE(Call(forced).status.ok());
  precis::v1::SummarizeRequest other = From(UnitOf("flash"));
  other.set_model("plain");
  EXPECT_TRUE(Call(other).status.ok());
  // A failure of ours is the arm's; a wrong request is not.
  engine_->FailWith(absl::InternalError("broken"));
  EXPECT_FALSE(Call(From(UnitOf("flash"))).status.ok());
  engine_->FailWith(absl::InvalidArgumentError("your fault"));
  EXPECT_FALSE(Call(From(UnitOf("flash"))).status.ok());
  const precis::v1::Report report = GetReport();
  EXPECT_EQ(report.arms(1).requests(), 2);
  EXPECT_EQ(report.arms(1).errors(), 1);
  EXPECT_EQ(report.arms(1).units(), 1);
  EXPECT_EQ(report.arms(0).requests(), 0);
}

TEST_F(ExperimentsRpcTest, RequestsOfAStreamHaveTheirOwnIds) {
  StartAll();
  grpc::ClientContext context;
  auto stream = stub_->SummarizeMany(&context);
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    precis::v1::SummarizeRequest request = From(UnitOf("flash"));
    request.set_client_request_id(StrCat(i));
    ASSERT_TRUE(stream->Write(request));
  }
  stream->WritesDone();
  precis::v1::SummarizeManyResponse answer;
  while (stream->Read(&answer)) ids.insert(answer.result().request_id());
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(ids.size(), 3u);
  for (const std::string& id : ids) {
    precis::v1::RecordOutcomeRequest record;
    record.set_request_id(id);
    record.add_outcomes()->set_name("score");
    EXPECT_EQ(Ask<precis::v1::RecordOutcomeResponse>(&Experiments::Stub::RecordOutcome, record).second.counted(), 1) << id;
  }
}

TEST_F(ExperimentsRpcTest, AStoppedArmsUnitsGetTheDefaultAndAreTold) {
  StartAll();
  precis::v1::StopExperimentRequest stop;
  stop.set_name("e");
  stop.set_arm("flash");
  stop.set_reason("bad summaries");
  auto [status, experiment] = Ask<precis::v1::Experiment>(&Experiments::Stub::StopExperiment, stop);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(experiment.arms(1).state(), precis::v1::ARM_STATE_STOPPED);
  const Outcome outcome = Call(From(UnitOf("flash")));
  ASSERT_TRUE(outcome.status.ok());
  EXPECT_EQ(outcome.response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_STOPPED);
  EXPECT_EQ(outcome.response.assignment().detail(), "operator: bad summaries");
  EXPECT_EQ(outcome.response.attention_backend(), "flash") << "the model's default";
  EXPECT_EQ(Initial(*outcome.context, "precis-assignment-reason"), "stopped");
  EXPECT_EQ(Initial(*outcome.context, "precis-assignment-detail"), "operator: bad summaries");
  EXPECT_EQ(engine_->submitted().back().labels.arm, "none");
  EXPECT_EQ(Call(From(UnitOf("control"))).response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_ASSIGNED);
  EXPECT_THAT(LogText(), HasSubstr("\"experiment stopped\""));
  EXPECT_EQ(GetReport().decisions(0).guardrail(), "operator");
  stop.set_arm("control");
  EXPECT_EQ(Ask<precis::v1::Experiment>(&Experiments::Stub::StopExperiment, stop).first.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ExperimentsRpcTest, ReloadTakesAGoodFileAndRefusesABadOneWhole) {
  StartAll();
  const auto reload = [&] { return Ask<precis::v1::ReloadExperimentsResponse>(&Experiments::Stub::ReloadExperiments, precis::v1::ReloadExperimentsRequest()); };
  EXPECT_FALSE(reload().second.changed());
  Write(std::string(kTwoArms) + "    share: 0\n");
  auto [status, taken] = reload();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(taken.changed());
  EXPECT_EQ(taken.config_generation(), 2u);
  EXPECT_EQ(Call(From("u")).response.assignment().reason(), precis::v1::ASSIGNMENT_REASON_NONE);
  EXPECT_EQ(Call(From("u")).response.assignment().config_generation(), 2u);
  for (const auto& [bad, why] : std::map<std::string, std::string>{{"    shares: 1\n", "experiments.yaml:6: unknown key 'shares'"},
                                                                   {"    control: z\n", "control 'z' is none of its arms"},
                                                                   {"    arms: []\n", "given twice"}}) {
    Write(kTwoArms + bad);
    EXPECT_EQ(reload().first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(reload().first.error_message(), HasSubstr(why));
  }
  Write("experiments:\n  - name: e\n    model: plain\n    arms: [{name: a, attention_backend: flash}, {name: b, attention_backend: flash_alibi}]\n");
  EXPECT_THAT(reload().first.error_message(), HasSubstr("arm 'b': ")) << "the model has no ALiBi checkpoint";
  std::remove(configuration_.options.experiments_file.c_str());
  EXPECT_THAT(reload().first.error_message(), HasSubstr("can't be read"));
  EXPECT_EQ(Call(From("u")).response.assignment().config_generation(), 2u) << "the running one stays";
}

TEST_F(ExperimentsRpcTest, AChangedFileIsSeenByItself) {
  configuration_.options.experiments_reload = absl::Milliseconds(50);
  StartAll();
  Write(std::string(kTwoArms) + "    share: 0\n");
  EXPECT_TRUE(Eventually([&] { return Call(From("u")).response.assignment().config_generation() == 2; }));
  Write("junk: 1\n");
  EXPECT_TRUE(Eventually([&] { return Contains(LogText(), "experiments not reloaded"); }));
  EXPECT_EQ(Call(From("u")).response.assignment().config_generation(), 2u);
  Write(kTwoArms);
  server_->ReloadExperiments();  // what SIGHUP does
  EXPECT_EQ(Call(From("u")).response.assignment().config_generation(), 3u);
}

TEST_F(ExperimentsRpcTest, ValidateReplaysRecordedTraffic) {
  StartAll();
  precis::v1::ValidateExperimentsRequest request;
  request.set_yaml(std::string(kTwoArms) + "    share: 50%\n");
  request.set_file_name("new.yaml");
  for (int i = 0; i < 400; ++i) {
    precis::v1::RecordedRequest* recorded = request.add_traffic();
    recorded->set_unit_id(StrCat("unit-", i % 200));
    if (i % 10 == 0) recorded->set_attention_backend("flash");
  }
  auto [status, response] = Ask<precis::v1::ValidateExperimentsResponse>(&Experiments::Stub::ValidateExperiments, request);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.units(), 200);
  std::map<std::string, int64_t> counts;
  int64_t moved = 0;
  for (const auto& count : response.counts()) {
    counts[count.reason()] += count.requests();
    moved += count.moved();
  }
  EXPECT_EQ(counts["forced"], 40);
  EXPECT_NEAR(static_cast<double>(counts["assigned"]), 180, 45);
  EXPECT_EQ(counts["assigned"] + counts["none"] + counts["forced"], 400);
  EXPECT_EQ(moved, 0) << "a smaller share moves nobody to another arm";
  request.set_yaml("experiments:\n  - name: e\n    salt: other\n    model: news\n    arms: [{name: control, attention_backend: standard}, {name: flash, attention_backend: flash}]\n");
  const auto resalted = Ask<precis::v1::ValidateExperimentsResponse>(&Experiments::Stub::ValidateExperiments, request).second;
  for (const auto& count : resalted.counts()) moved += count.moved();
  EXPECT_GT(moved, 50) << "another salt does";
  request.set_yaml("experiments: 1");
  EXPECT_THAT((Ask<precis::v1::ValidateExperimentsResponse>(&Experiments::Stub::ValidateExperiments, request).first.error_message()), HasSubstr("new.yaml:1: "));
}

TEST_F(ExperimentsRpcTest, AssignSaysWhatAUnitGets) {
  StartAll();
  precis::v1::AssignRequest request;
  request.mutable_request()->set_unit_id(UnitOf("control"));
  auto [status, response] = Ask<precis::v1::AssignResponse>(&Experiments::Stub::Assign, request);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.assignment().arm(), "control");
  EXPECT_EQ(response.attention_backend(), "standard");
  request.mutable_request()->set_attention_backend("flash_alibi");
  const auto forced = Ask<precis::v1::AssignResponse>(&Experiments::Stub::Assign, request).second;
  EXPECT_EQ(forced.assignment().reason(), precis::v1::ASSIGNMENT_REASON_FORCED);
  EXPECT_EQ(forced.attention_backend(), "flash_alibi");
}

TEST_F(ExperimentsRpcTest, PeersAreMergedAndOutcomesFindTheirServer) {
  StartAll();
  const Outcome outcome = Call(From(UnitOf("flash")));
  // A second server of the same experiments, which knows the first.
  Configuration second = configuration_;
  second.options.experiment_peers = {server_->address(), "127.0.0.1:1"};
  auto started = Server::Start(second, &metrics_, log_.get());
  ASSERT_TRUE(started.ok()) << started.status();
  ASSERT_TRUE((*started)->Load([] { return std::make_unique<FakeEngine>(); }).ok());
  const auto channel = grpc::CreateChannel((*started)->address(), grpc::InsecureChannelCredentials());
  experiments_ = Experiments::NewStub(channel);
  const auto summarizer = precis::v1::Summarizer::NewStub(channel);
  grpc::ClientContext context;
  precis::v1::SummarizeResponse response;
  ASSERT_TRUE(summarizer->Summarize(&context, From(UnitOf("control")), &response).ok());
  const precis::v1::Report report = GetReport();
  EXPECT_EQ(report.arms(0).requests() + report.arms(1).requests(), 2);
  EXPECT_EQ(report.peers_size(), 1);
  ASSERT_EQ(report.missing_peers_size(), 1);
  EXPECT_THAT(report.missing_peers(0), HasSubstr("127.0.0.1:1: "));
  precis::v1::RecordOutcomeRequest record;
  record.set_request_id(outcome.response.request_id());
  record.add_outcomes()->set_name("thumbs");
  auto [status, recorded] = Ask<precis::v1::RecordOutcomeResponse>(&Experiments::Stub::RecordOutcome, record);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(recorded.arm(), "flash");
}

TEST_F(ExperimentsRpcTest, AStopReachesThePeersAndAServerIsNotItsOwnPeer) {
  StartAll();
  ASSERT_TRUE(Call(From(UnitOf("flash"))).status.ok());
  Configuration second = configuration_;
  second.options.experiments_check = absl::Milliseconds(20);
  const std::string own = StrCat("unix:", directory_, "/second.sock");
  second.options.listen = own;
  second.options.experiment_peers = {server_->address(), own, server_->address()};
  auto started = Server::Start(second, &metrics_, log_.get());
  ASSERT_TRUE(started.ok()) << started.status();
  ASSERT_TRUE((*started)->Load([] { return std::make_unique<FakeEngine>(); }).ok());
  const auto first = std::move(experiments_);
  experiments_ = Experiments::NewStub(grpc::CreateChannel(own, grpc::InsecureChannelCredentials()));
  const precis::v1::Report report = GetReport();
  EXPECT_EQ(report.arms(0).requests() + report.arms(1).requests(), 1) << "the first server's, once";
  EXPECT_EQ(report.peers_size(), 1);
  EXPECT_EQ(report.missing_peers_size(), 0);

  // Stopped at the first server by hand: the second hears of it.
  grpc::ClientContext context;
  precis::v1::StopExperimentRequest stop;
  stop.set_name("e");
  stop.set_arm("flash");
  stop.set_reason("enough");
  precis::v1::Experiment stopped;
  ASSERT_TRUE(first->StopExperiment(&context, stop, &stopped).ok());
  precis::v1::GetExperimentRequest get;
  get.set_name("e");
  precis::v1::ExperimentArm arm;
  for (int i = 0; i < 500 && arm.state() != precis::v1::ARM_STATE_STOPPED; ++i) {
    absl::SleepFor(absl::Milliseconds(20));
    arm = Ask<precis::v1::Experiment>(&Experiments::Stub::GetExperiment, get).second.arms(1);
  }
  EXPECT_EQ(arm.state(), precis::v1::ARM_STATE_STOPPED);
  EXPECT_EQ(arm.stopped_because(), "operator: enough (on a peer)");
}

TEST_F(ExperimentsRpcTest, TokensAllowPartsOfIt) {
  const std::string file = directory_ + "/tokens";
  std::ofstream(file) << "reader-0123456789abc name=reader allow=experiments\nwriter-0123456789abc name=writer allow=summarize,outcomes\n";
  configuration_.options.auth_tokens_file = file;
  StartAll();
  const precis::v1::ListExperimentsRequest list;
  using Listed = precis::v1::ListExperimentsResponse;
  EXPECT_EQ(Ask<Listed>(&Experiments::Stub::ListExperiments, list).first.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Ask<Listed>(&Experiments::Stub::ListExperiments, list, "reader-0123456789abc").second.experiments_size(), 1);
  EXPECT_EQ(Ask<Listed>(&Experiments::Stub::ListExperiments, list, "writer-0123456789abc").first.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT((Ask<precis::v1::ReloadExperimentsResponse>(&Experiments::Stub::ReloadExperiments, precis::v1::ReloadExperimentsRequest(), "reader-0123456789abc").first.error_message()),
              HasSubstr("ReloadExperiments needs admin"));
}

TEST_F(ExperimentsRpcTest, ShadowPairsRunOnBothArmsOnlyWhileNobodyWaits) {
  Write(std::string(kTwoArms) + "    shadow: {sampling: 100%}\n");
  StartAll();
  EXPECT_TRUE(Call(From(UnitOf("flash"))).status.ok());
  EXPECT_TRUE(Eventually([&] { return GetReport().arms(1).shadow().pairs() == 1; }));
  std::map<std::string, int> replayed;
  for (const runtime::Request& request : engine_->submitted()) {
    if (request.labels.experiment != runtime::kShadowLabel) continue;
    ++replayed[request.attention_backend];
    EXPECT_EQ(request.priority, runtime::Priority::kLow);
    EXPECT_TRUE(request.fresh_cache);
  }
  EXPECT_EQ(replayed, (std::map<std::string, int>{{"flash", 1}, {"standard", 1}}));
  EXPECT_EQ(metrics_.Count("rpc news flash e/flash OK"), 1) << "replays are no calls: " << metrics_.All();
  EXPECT_EQ(GetReport().arms(1).requests(), 1);

  // A replay under way is cancelled when a user comes.
  EXPECT_TRUE(Call(From(UnitOf("flash"))).status.ok());
  engine_->Hold(true);
  ASSERT_TRUE(Eventually([&] { return engine_->live() == 1 || GetReport().arms(1).shadow().pairs() == 2; }));
  if (engine_->live() == 1) {
    const int before = engine_->cancelled();
    std::thread user([&] { EXPECT_TRUE(Call(From(UnitOf("control"))).status.ok()); });
    EXPECT_TRUE(Eventually([&] { return engine_->cancelled() == before + 1; }));
    engine_->Hold(false);
    user.join();
  }
  engine_->Hold(false);
}

}  // namespace
}  // namespace precis::server
