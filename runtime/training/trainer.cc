#include "runtime/training/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <thread>

#include "runtime/model/gpu_runner.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/training/files.h"

namespace precis::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

double Value(const Scalars& scalars, std::string_view name) {
  for (const auto& [key, value] : scalars) {
    if (key == name) return value;
  }
  return std::nan("");
}

Schedule ScheduleNamed(std::string_view name) {
  for (size_t i = 0; i < std::size(kScheduleNames); ++i) {
    if (kScheduleNames[i] == name) return static_cast<Schedule>(i);
  }
  return Schedule::kConstant;
}

std::string Duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds);
  return s >= 3600 ? Cat(s / 3600, "h", s / 60 % 60, "m") : s >= 60 ? Cat(s / 60, "m", s % 60, "s") : Cat(s, "s");
}

}  // namespace

absl::Status Trainer::Run(const std::atomic<bool>& stop) {
  PRECIS_TRY(Prepare());
  return WithLastCheckpoint(Loop(stop));
}

absl::Status Trainer::WithLastCheckpoint(const absl::Status& status) const {
  if (status.ok()) return status;
  const std::string last = folder_->LastFolder();
  return absl::Status(status.code(), Cat(std::string_view(status.message().data(), status.message().size()), "\n",
                                         last.empty() ? std::string("No checkpoint was written yet.") : Cat("The last good checkpoint is ", last, "; --resume goes on from it.")));
}

absl::Status Trainer::Prepare() {
  const bool has_run = !CheckpointFolder(options_.out, {}, false).LastFolder().empty();
  if (has_run && !options_.resume) {
    return absl::AlreadyExistsError(Cat("--out=", options_.out, " holds a run already: add --resume to go on with it, or name another folder"));
  }
  PRECIS_TRY(MakeDirectories(options_.out));
  PRECIS_ASSIGN(start_, ReadStart(options_));
  options_.positions = start_.config.model.alibi ? "alibi" : "learned";
  options_.length = start_.length;
  options_.summary_tokens = start_.summary_tokens;
  PRECIS_TRY(ReadData());
  PRECIS_TRY(OpenDevice());
  folder_ = std::make_unique<CheckpointFolder>(options_.out, start_.files, options_.save_dtype == "bf16");
  schedule_ = {.schedule = ScheduleNamed(options_.schedule), .rate = options_.rate, .final_rate = options_.final_rate, .warmup = options_.warmup,
               .cooldown = options_.cooldown, .steps = options_.max_steps};
  PRECIS_TRY(LoadNumbers());
  if (device_->kind() != "cpu") {  // one shape for every pass: a GPU's products are planned by shape
    batches_.pad_to_rows = options_.batch_tokens;
    batches_.pad_length = start_.length;
  }
  stream_ = std::make_unique<BatchesAhead>(&documents_, batches_, state_.position);
  PRECIS_ASSIGN(MetricsFiles metrics, MetricsFiles::Open(options_.out, state_.step));
  metrics_ = std::make_unique<MetricsFiles>(std::move(metrics));
  peak_flops_ = options_.peak_tflops > 0 ? options_.peak_tflops * 1e12 : MeasurePeak();
  return absl::OkStatus();
}

absl::Status Trainer::ReadData() {
  const EncodeOptions encode = {.prefix = start_.prompt.prefix, .suffix = start_.prompt.suffix, .length = start_.length, .summary_tokens = start_.summary_tokens};
  const auto read = [&](const std::vector<std::string>& files, Documents* to) -> absl::Status {
    int64_t skipped = 0;
    PRECIS_ASSIGN(const std::vector<TextRow> rows, ReadRows(files, options_.skip_bad_rows, &skipped));
    PRECIS_ASSIGN(*to, EncodeRows(rows, *start_.tokenizer, encode));
    std::fprintf(stderr, "%lld documents, %lld tokens%s\n", static_cast<long long>(to->count()), static_cast<long long>(to->tokens.size()),
                 skipped > 0 ? Cat(" (", skipped, " bad rows left out)").c_str() : "");
    return absl::OkStatus();
  };
  PRECIS_TRY(read(options_.data, &documents_));
  if (!options_.eval_data.empty()) PRECIS_TRY(read(options_.eval_data, &held_out_));
  batches_ = {.max_rows = options_.batch_tokens, .document_weight = static_cast<float>(options_.document_weight),
              .summary_weight = static_cast<float>(options_.summary_weight), .seed = options_.seed, .shard_documents = options_.shard_documents};
  return absl::OkStatus();
}

absl::Status Trainer::OpenDevice() {
  if (options_.device == "auto") return absl::InvalidArgumentError("--device=auto: name the device (cpu, cuda, cuda:N or simt), so that a resumed run gets the same");
  std::string why_cpu;
  PRECIS_ASSIGN(std::shared_ptr<kernels::GpuDevice> gpu, runtime::OpenDevice(options_.device, &why_cpu));
  const int threads = options_.threads > 0 ? options_.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (gpu == nullptr) {
    device_ = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), threads);
  } else {
    PRECIS_ASSIGN(device_, kernels::OpenGpuTrainDevice(std::move(gpu)));
  }
  const TrainModelOptions model = {.bf16 = options_.dtype == "bf16", .materialised = options_.attention == "standard",
                                   .recompute_layers = options_.recompute == "layer", .dropout = static_cast<float>(options_.dropout),
                                   .dropout_seed = options_.seed, .max_rows = options_.batch_tokens};
  PRECIS_ASSIGN(model_, TrainModel::Create(start_.config, model, device_.get()));
  std::fprintf(stderr, "%s positions, %.1fM parameters, %s on %s, %.0f MB\n", options_.positions.c_str(),
               static_cast<double>(model_->table().parameter_count()) / 1e6, options_.dtype.c_str(), std::string(device_->kind()).c_str(),
               static_cast<double>(device_->allocated_bytes()) / 1e6);
  return absl::OkStatus();
}

absl::Status Trainer::LoadNumbers() {
  const std::string common = OptionsInCommon(options_, Fingerprint(documents_));
  if (!folder_->LastFolder().empty()) {
    PRECIS_ASSIGN(state_, folder_->ReadState());
    PRECIS_TRY(CompareOptions(state_.options, common));
    PRECIS_ASSIGN(const CheckpointNumbers numbers, folder_->ReadNumbers(model_->table()));
    std::fprintf(stderr, "going on from step %lld (%s)\n", static_cast<long long>(state_.step), folder_->LastFolder().c_str());
    if (state_.position.index > documents_.count()) return absl::InvalidArgumentError("--resume: the checkpoint is past the end of the data");
    written_step_ = state_.step;
    return model_->SetState(numbers.weights, &numbers.first, &numbers.second);
  }
  state_.options = common;
  if (!options_.new_model.empty()) {
    return model_->SetState(InitialWeights(model_->table(), start_.config.model.n_layer, options_.seed), nullptr, nullptr);
  }
  PRECIS_ASSIGN(const TensorStore store, TensorStore::Open(options_.model));
  PRECIS_ASSIGN(const std::vector<float> weights, ReadWeights(store, model_->table(), start_.drop_positions));
  return model_->SetState(weights, nullptr, nullptr);
}

// A product of the device's own at its best size; 0 on the SIMT device, whose speed says nothing.
double Trainer::MeasurePeak() {
  if (device_->kind() == "simt") return 0;
  const int n = device_->kind() == "cpu" ? 1024 : 8192;
  const bool bf16 = options_.dtype == "bf16";
  void* blocks[3] = {};
  for (void*& block : blocks) {
    absl::StatusOr<void*> memory = device_->Allocate(int64_t{n} * n * (bf16 ? 2 : 4));
    if (memory.ok()) block = *memory;
  }
  double best = 0;
  for (int round = 0; round < 4 && blocks[2] != nullptr; ++round) {
    const auto begin = Clock::now();
    device_->Product({.a = blocks[0], .a_stride = n, .b = blocks[1], .b_stride = n, .b_transposed = true, .c = blocks[2], .c_stride = n,
                      .type = bf16 ? kernels::GpuType::kBf16 : kernels::GpuType::kF32, .m = n, .n = n, .k = n});
    if (!device_->Synchronize().ok()) break;
    best = std::max(best, 2.0 * n * n * n / SecondsSince(begin));
  }
  for (void* block : blocks) {
    if (block != nullptr) device_->Free(block);
  }
  return best;
}

absl::Status Trainer::Loop(const std::atomic<bool>& stop) {
  while (state_.step < options_.max_steps && !stop) {
    Scalars scalars;
    PRECIS_TRY(OneStep(&scalars));
    const bool last = state_.step == options_.max_steps;
    bool best = false;
    if (held_out_.count() > 0 && (last || Every(options_.eval_every))) {
      PRECIS_TRY(Evaluate(&scalars));
      best = state_.best_step == state_.step;
    }
    PRECIS_TRY(metrics_->Add(state_.step, scalars));
    if (last || Every(options_.log_every)) {
      ShowProgress(scalars);
      seconds_ = flops_ = 0, tokens_ = timed_steps_ = 0;
    }
    if (Every(options_.sample_every)) PRECIS_TRY(WriteSamples());
    if (best || last || Every(options_.checkpoint_every)) PRECIS_TRY(Checkpoint(best));
    if (options_.patience > 0 && state_.evaluations_without_gain >= options_.patience) {
      std::fprintf(stderr, "stopped early: %lld evaluations without gain; the best was step %lld\n",
                   static_cast<long long>(state_.evaluations_without_gain), static_cast<long long>(state_.best_step));
      break;
    }
  }
  if (written_step_ != state_.step) PRECIS_TRY(Checkpoint(false));
  PRECIS_TRY(metrics_->WriteCurves());
  if (!stop) return ReplaceFile(options_.out + "/finished", Cat(state_.step, "\n"));
  return absl::CancelledError(Cat("stopped by a signal after step ", state_.step));
}

absl::Status Trainer::OneStep(Scalars* scalars) {
  const auto begin = Clock::now();
  std::vector<Batch> batches;
  double weight = 0;
  for (int i = 0; i < options_.accumulate; ++i) {
    batches.push_back(stream_->Next());
    weight += batches.back().weight();
  }
  if (weight <= 0) return absl::InvalidArgumentError(Cat("step ", state_.step + 1, ": no token has a weight: are there summaries in the data?"));
  model_->ClearGradients();
  BatchLoss sum;
  for (const Batch& batch : batches) {
    PRECIS_ASSIGN(const BatchLoss loss, model_->Accumulate(batch, static_cast<float>(1 / weight), static_cast<uint64_t>(state_.batches++)));
    sum.weighted += loss.weighted, sum.document += loss.document, sum.summary += loss.summary;
    sum.document_tokens += loss.document_tokens, sum.summary_tokens += loss.summary_tokens;
    tokens_ += batch.rows() - batch.padding, state_.tokens += batch.rows() - batch.padding;
    flops_ += model_->Flops(batch);
  }
  const double loss = sum.weighted / weight, rate = RateAt(schedule_, state_.step + 1);
  if (!std::isfinite(loss)) {
    return absl::InternalError(Cat("step ", state_.step + 1, ": the loss is ", loss, ": training diverged. Give a lower --rate, a longer --warmup or a smaller --clip"));
  }
  PRECIS_ASSIGN(const TrainModel::UpdateResult update,
                model_->Update({.rate = static_cast<float>(rate), .beta1 = static_cast<float>(options_.beta1), .beta2 = static_cast<float>(options_.beta2),
                                .epsilon = static_cast<float>(options_.epsilon), .decay = static_cast<float>(options_.weight_decay),
                                .max_norm = static_cast<float>(options_.clip), .step = state_.step + 1}));
  if (!update.finite) {
    return absl::InternalError(Cat("step ", state_.step + 1, ": the gradient is not finite: training diverged. Give a lower --rate, a longer --warmup or --dtype=f32"));
  }
  ++state_.step;
  state_.position = stream_->position();
  seconds_ += SecondsSince(begin);
  ++timed_steps_;
  *scalars = {{"train/loss", loss}};
  if (sum.document_tokens > 0) scalars->emplace_back("train/loss_on_documents", sum.document / static_cast<double>(sum.document_tokens));
  if (sum.summary_tokens > 0) scalars->emplace_back("train/loss_on_summaries", sum.summary / static_cast<double>(sum.summary_tokens));
  scalars->insert(scalars->end(), {{"train/rate", rate}, {"train/gradient_norm", update.gradient_norm}, {"train/epoch", stream_->epochs()},
                                   {"train/tokens", static_cast<double>(state_.tokens)}, {"speed/tokens_per_second", static_cast<double>(tokens_) / seconds_},
                                   {"speed/mfu", peak_flops_ > 0 ? flops_ / seconds_ / peak_flops_ : 0},
                                   {"memory/device_bytes", static_cast<double>(device_->allocated_bytes())},
                                   {"memory/resident_bytes", static_cast<double>(ResidentBytes())}});
  return absl::OkStatus();
}

void Trainer::ShowProgress(const Scalars& scalars) const {
  const double left = seconds_ / static_cast<double>(std::max<int64_t>(1, timed_steps_)) * static_cast<double>(options_.max_steps - state_.step);
  std::fprintf(stderr, "step %lld/%lld  loss %.4f  rate %.2e  norm %.2f  %.0f tokens/s  MFU %.0f%%  memory %.0f MB  left %s", static_cast<long long>(state_.step),
               static_cast<long long>(options_.max_steps), Value(scalars, "train/loss"), Value(scalars, "train/rate"), Value(scalars, "train/gradient_norm"),
               static_cast<double>(tokens_) / seconds_, 100 * Value(scalars, "speed/mfu"), Value(scalars, "memory/resident_bytes") / 1e6, Duration(left).c_str());
  if (const double eval = Value(scalars, "eval/loss"); !std::isnan(eval)) std::fprintf(stderr, "  held out %.4f", eval);
  std::fprintf(stderr, "\n");
}

absl::Status Trainer::Checkpoint(bool is_best) {
  CheckpointNumbers numbers;
  PRECIS_TRY(model_->GetState(&numbers.weights, &numbers.first, &numbers.second));
  PRECIS_TRY(folder_->Write(model_->table(), numbers, state_, is_best, options_.keep));
  written_step_ = state_.step;
  return metrics_->WriteCurves();
}

}  // namespace precis::runtime
