#include "client/load/svg.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/load/plot.h"

namespace precis::load {
namespace {

constexpr double kWidth = 980, kHeader = 54, kPanelHeight = 340, kMargin = 16;
constexpr size_t kMaxPoints = 240;

constexpr char kStyle[] =
    "<style>text{font-family:system-ui,sans-serif;fill:#222}.head{font-size:17px;font-weight:600}"
    ".sub{font-size:12px;fill:#555}.title{font-size:13px;font-weight:600}.tick,.label{font-size:11px;fill:#555}"
    ".legend{font-size:12px}.grid{stroke:#e6e6e6}.axis{stroke:#888;fill:none}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}</style>\n";

using Colors = std::map<std::string, int>;

// One colour a backend, the same in every panel.
Colors ColorsOf(const std::vector<Stage>& stages) {
  std::set<std::string> names;
  for (const Stage& stage : stages) {
    for (const Sample& sample : stage.samples) names.insert(sample.backend);
  }
  Colors colors;
  for (const std::string& name : names) colors.emplace(name, static_cast<int>(colors.size()));
  return colors;
}

Line CdfLine(const std::string& name, int color, const std::vector<double>& sorted) {
  Line line{.name = name, .color = color, .steps = true};
  line.points.emplace_back(sorted.front(), 0);
  const size_t n = sorted.size(), count = std::min(n, kMaxPoints);
  for (size_t i = 1; i <= count; ++i) {
    const size_t index = i * n / count - 1;
    line.points.emplace_back(sorted[index], static_cast<double>(index + 1) / static_cast<double>(n));
  }
  return line;
}

Plot CdfPlot(const Stage& stage, const Colors& colors, const std::string& title, Distribution Summary::*which) {
  Plot plot{.title = title, .x_label = "time, logarithmic; the height is the share answered within it", .log_x = true, .x_is_time = true};
  plot.y_max = 1;
  plot.y_percent = true;
  plot.y_ticks = {0, 0.25, 0.5, 0.75, 0.9, 1};
  for (const auto& [backend, summary] : stage.ByBackend()) {
    const std::vector<double>& sorted = (summary.*which).sorted;
    if (sorted.empty()) continue;
    const std::string name =
        absl::StrCat(backend, ": p50 ", FormatSeconds(Percentile(sorted, 50)), ", p99 ", FormatSeconds(Percentile(sorted, 99)));
    plot.lines.push_back(CdfLine(name, colors.at(backend), sorted));
  }
  return plot;
}

Plot SweepPlot(const std::vector<Stage>& stages, const Colors& colors, const std::string& title,
               Distribution Summary::*which) {
  Plot plot{.title = title, .x_label = "arrivals per second (dashed: p95)", .log_y = true, .y_is_time = true};
  for (const auto& [backend, color] : colors) {
    Line median{.name = backend, .color = color, .markers = true};
    Line p95{.color = color, .dashed = true, .markers = true};
    for (const Stage& stage : stages) {
      const auto by_backend = stage.ByBackend();
      const auto found = by_backend.find(backend);
      if (found == by_backend.end() || (found->second.*which).sorted.empty()) continue;
      median.points.emplace_back(stage.rate, Percentile((found->second.*which).sorted, 50));
      p95.points.emplace_back(stage.rate, Percentile((found->second.*which).sorted, 95));
    }
    if (median.points.empty()) continue;
    plot.lines.push_back(std::move(median));
    plot.lines.push_back(std::move(p95));
  }
  return plot;
}

// Two panels side by side; the height that they took is kPanelHeight.
std::string Row(const Plot& left, const Plot& right, double y) {
  const double width = (kWidth - 3 * kMargin) / 2;
  return DrawPlot(left, {kMargin, y, width, kPanelHeight}) +
         DrawPlot(right, {2 * kMargin + width, y, width, kPanelHeight});
}

std::string StageName(const Stage& stage) {
  const Summary all = stage.All();
  const std::string load = stage.rate > 0 ? absl::StrFormat("%g requests/s", stage.rate) : "closed loop";
  return absl::StrFormat("%s, %d of %d answered", load, all.ok, all.requests);
}

}  // namespace

std::string DrawSvg(const std::vector<Stage>& stages, const std::string& title) {
  const Colors colors = ColorsOf(stages);
  const bool sweep = stages.size() > 1;
  const double height = kHeader + kPanelHeight * static_cast<double>(stages.size() + sweep) + kMargin;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\">\n",
      kWidth, height, kWidth, height);
  absl::StrAppend(&svg, "<title>", EscapeXml(title), "</title>\n", kStyle);
  absl::StrAppendFormat(&svg, "<rect width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n", kWidth, height);
  absl::StrAppendFormat(&svg, "<text x=\"28\" y=\"28\" class=\"head\">Latency by attention backend</text>\n"
                        "<text x=\"28\" y=\"46\" class=\"sub\">%s</text>\n", EscapeXml(title));
  double y = kHeader;
  if (sweep) {
    svg += Row(SweepPlot(stages, colors, "Latency over the rate", &Summary::latency),
               SweepPlot(stages, colors, "Time to first token over the rate", &Summary::time_to_first_token), y);
    y += kPanelHeight;
  }
  for (const Stage& stage : stages) {
    svg += Row(CdfPlot(stage, colors, "Latency: " + StageName(stage), &Summary::latency),
               CdfPlot(stage, colors, "Time to first token", &Summary::time_to_first_token), y);
    y += kPanelHeight;
  }
  return svg + "</svg>\n";
}

}  // namespace precis::load
