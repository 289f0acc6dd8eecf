#include "runtime/model/catalog.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "runtime/model/config_json.h"
#include "runtime/model/cpu_runner.h"
#include "runtime/model/gpu_runner.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/safetensors.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::AttentionVariant;

std::string VariantNames(absl::Span<const AttentionVariant* const> variants) {
  std::string names;
  for (const AttentionVariant* variant : variants) names += Cat(names.empty() ? "" : ", ", variant->name);
  return names;
}

std::string FolderName(const std::string& directory) {
  std::filesystem::path path(directory);
  if (!path.has_filename()) path = path.parent_path();
  return path.filename().string();
}

std::vector<const AttentionVariant*> VariantsFor(const ModelConfig& config) {
  const auto positions = config.alibi ? kernels::Positions::kAlibi : kernels::Positions::kLearned;
  std::vector<const AttentionVariant*> variants;
  for (const AttentionVariant& variant : kernels::AttentionVariants()) {
    if (variant.positions == positions) variants.push_back(&variant);
  }
  return variants;
}

absl::Status LoadTokenizer(const std::string& directory, Checkpoint* checkpoint) {
  PRECIS_ASSIGN(checkpoint->tokenizer, Tokenizer::Load(directory));
  const int32_t tokens = checkpoint->tokenizer->vocabulary_size();
  const int vocabulary = checkpoint->runner->config().vocab_size;
  if (tokens <= vocabulary) return absl::OkStatus();
  return absl::InvalidArgumentError(Cat(directory, ": the tokenizer has ", tokens, " tokens, but config.json says ",
                                        "vocab_size ", vocabulary, "; they are not of one model"));
}

absl::StatusOr<FolderOptions> LoadFolderOptions(const std::string& directory) {
  const std::string path = directory + "/precis.json";
  if (!FileExists(path)) return FolderOptions();
  PRECIS_ASSIGN(const std::string text, ReadSmallFile(path, kMaxConfigBytes));
  return ParseFolderOptions(text, path);
}

absl::StatusOr<std::unique_ptr<Checkpoint>> LoadCheckpoint(const std::string& directory, const LoadOptions& options,
                                                           std::shared_ptr<kernels::ThreadPool> pool,
                                                           std::shared_ptr<kernels::GpuDevice> device) {
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->name = FolderName(directory);
  PRECIS_ASSIGN(FolderOptions folder, LoadFolderOptions(directory));
  if (device == nullptr) {
    PRECIS_ASSIGN(checkpoint->runner, LoadCpuRunner(directory, options, folder.context_tokens, std::move(pool)));
  } else {
    PRECIS_ASSIGN(checkpoint->runner,
                  LoadGpuRunner(directory, options, folder.context_tokens, std::move(pool), std::move(device)));
  }
  PRECIS_TRY(LoadTokenizer(directory, checkpoint.get()));
  checkpoint->prompt_prefix = std::move(folder.prefix);
  checkpoint->prompt_suffix = std::move(folder.suffix);
  checkpoint->variants = VariantsFor(checkpoint->runner->config());
  return checkpoint;
}

bool Serves(const Checkpoint& checkpoint, std::string_view variant) {
  for (const AttentionVariant* served : checkpoint.variants) {
    if (served->name == variant) return true;
  }
  return false;
}

Checkpoint* FindServing(const Model& model, std::string_view variant) {
  for (const auto& checkpoint : model.checkpoints) {
    if (Serves(*checkpoint, variant)) return checkpoint.get();
  }
  return nullptr;
}

absl::Status AddCheckpoint(std::unique_ptr<Checkpoint> checkpoint, Model* model) {
  for (const AttentionVariant* variant : checkpoint->variants) {
    if (const Checkpoint* other = FindServing(*model, variant->name)) {
      return absl::InvalidArgumentError(Cat("checkpoints ", other->name, " and ", checkpoint->name, " both serve ",
                                            variant->name, "; give them different model names"));
    }
  }
  model->checkpoints.push_back(std::move(checkpoint));
  return absl::OkStatus();
}

// flash where it is served, else flash_alibi, else the first there is.
const AttentionVariant* DefaultVariant(const Model& model) {
  for (std::string_view name : {"flash", "flash_alibi"}) {
    if (FindServing(model, name) != nullptr) return kernels::FindAttentionVariant(name);
  }
  for (const auto& checkpoint : model.checkpoints) {
    if (!checkpoint->variants.empty()) return checkpoint->variants.front();
  }
  return nullptr;
}

Model* FindOrAdd(const std::string& name, std::vector<std::unique_ptr<Model>>* models) {
  for (const auto& model : *models) {
    if (model->name == name) return model.get();
  }
  models->push_back(std::make_unique<Model>());
  models->back()->name = name;
  return models->back().get();
}

std::string ModelNames(absl::Span<const std::unique_ptr<Model>> models) {
  std::string names;
  for (const auto& model : models) names += Cat(names.empty() ? "" : ", ", model->name);
  return names.empty() ? "none" : names;
}

std::string ServedNames(const Model& model) {
  std::string names;
  for (const auto& checkpoint : model.checkpoints) {
    names += Cat(names.empty() ? "" : ", ", VariantNames(checkpoint->variants));
  }
  return names;
}

}  // namespace

Catalog::Catalog(std::vector<std::unique_ptr<Model>> models) : models_(std::move(models)) {
  for (const auto& model : models_) {
    if (model->default_variant == nullptr) model->default_variant = DefaultVariant(*model);
    for (const auto& checkpoint : model->checkpoints) all_.push_back(checkpoint.get());
  }
}

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Load(absl::Span<const ModelSpec> specs, const LoadOptions& options) {
  if (specs.empty()) return absl::InvalidArgumentError("no model is given; --model=NAME=DIR names one");
  if (options.threads < 1) return absl::InvalidArgumentError(Cat("threads is ", options.threads, "; 1 is the least"));
  if (options.alibi_context_tokens < 1) {
    return absl::InvalidArgumentError(
        Cat("alibi_context_tokens is ", options.alibi_context_tokens, "; 1 is the least"));
  }
  std::string why_cpu;
  PRECIS_ASSIGN(const std::shared_ptr<kernels::GpuDevice> device, OpenDevice(options.device, &why_cpu));
  if (device != nullptr && options.kv_cache.has_value()) {
    return absl::InvalidArgumentError(Cat("--kv-cache-dtype=", kernels::DTypeName(*options.kv_cache), " with --device=", options.device,
                                          ": a GPU holds keys and values as its activations; leave it at auto, or take --device=cpu"));
  }
  auto pool = std::make_shared<kernels::ThreadPool>(options.threads);
  std::vector<std::unique_ptr<Model>> models;
  for (const ModelSpec& spec : specs) {
    if (spec.name.empty()) return absl::InvalidArgumentError(Cat("the model in ", spec.directory, " has no name"));
    auto checkpoint = LoadCheckpoint(spec.directory, options, pool, device);
    absl::Status status = checkpoint.status();
    if (status.ok()) status = AddCheckpoint(std::move(*checkpoint), FindOrAdd(spec.name, &models));
    if (!status.ok()) return absl::Status(status.code(), Cat("model '", spec.name, "': ", status.message()));
  }
  auto catalog = std::make_unique<Catalog>(std::move(models));
  catalog->why_cpu_ = std::move(why_cpu);
  return catalog;
}

absl::StatusOr<Catalog::Choice> Catalog::Resolve(std::string_view name, std::string_view backend) const {
  const AttentionVariant* variant = nullptr;
  if (!backend.empty()) {
    variant = kernels::FindAttentionVariant(backend);
    if (variant == nullptr) {
      return absl::InvalidArgumentError(Cat("unknown attention backend '", Printable(backend), "'; known are ",
                                            kernels::AttentionVariantNames()));
    }
  }
  bool known = false;
  std::string served;
  for (const auto& model : models_) {
    if (!name.empty() && model->name != name) continue;
    known = true;
    const AttentionVariant* wanted = variant != nullptr ? variant : model->default_variant;
    Checkpoint* checkpoint = wanted == nullptr ? nullptr : FindServing(*model, wanted->name);
    if (checkpoint == nullptr) {
      served += Cat(served.empty() ? "" : "; ", model->name, ": ", ServedNames(*model));
      continue;
    }
    int index = 0;
    while (all_[index] != checkpoint) ++index;
    return Choice{model.get(), checkpoint, wanted, index};
  }
  if (!known) {
    return absl::NotFoundError(Cat("unknown model '", Printable(name), "'; loaded are ", ModelNames(models_)));
  }
  return absl::InvalidArgumentError(Cat("no checkpoint serves attention backend '", Printable(backend),
                                        "' here; served are ", served));
}

}  // namespace precis::runtime
