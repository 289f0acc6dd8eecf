#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "runtime/training/quantize.h"

int main(int argc, char** argv) {
  CLI::App app("precis-quantize: a checkpoint with int8 weights, one scale an output channel.", "precis-quantize");
  std::string from, to;
  app.add_option("--model", from, "Folder of a checkpoint in Hugging Face form: F32, F16 or BF16")->required();
  app.add_option("--out", to, "Folder to write; it must not exist")->required();
  app.footer("\nExamples:\n  precis-quantize --model=runs/alibi/best --out=models/alibi-int8\n  precis-server --model=news=models/alibi-int8\n\n"
             "What int8 costs in ROUGE: tests/bench/quality.py; runtime/training/README.md has figures.");
  CLI11_PARSE(app, argc, argv);
  const auto result = precis::runtime::QuantizeCheckpoint(from, to);
  if (!result.ok()) {
    std::fprintf(stderr, "precis-quantize: %s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  std::printf("%s: %.1f MB, the matrices are off by %.2f%% (norm of the rounding to norm of the weights)\n", to.c_str(), static_cast<double>(result->bytes) / 1e6,
              100 * result->relative_error);
  return 0;
}
