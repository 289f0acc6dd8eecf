#include "client/load/plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace precis::load {
namespace {

// Okabe and Ito's colours without yellow: told apart by colour-blind readers too.
constexpr const char* kPalette[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444"};
constexpr double kLeft = 62, kRight = 16, kTop = 34, kBottom = 44, kLegendLine = 17;

// From data to pixels.
struct Axis {
  double low, high, from, to;
  bool log;
  double operator()(double value) const {
    if (!log) return from + (value - low) / (high - low) * (to - from);
    const double position = std::log(std::max(value, low) / low) / std::log(high / low);
    return from + position * (to - from);
  }
};

std::vector<double> LogTicks(double low, double high) {
  std::vector<double> ticks;
  const double decades = std::log10(high / low);
  const std::vector<double> steps =
      decades > 3     ? std::vector<double>{1}
      : decades > 1.5 ? std::vector<double>{1, 3}
      : decades > 0.8 ? std::vector<double>{1, 2, 5}
                      : std::vector<double>{1, 1.5, 2, 3, 4, 5, 7};
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (double step : steps) {
      if (power * step >= low * 0.999 && power * step <= high * 1.001) ticks.push_back(power * step);
    }
  }
  return ticks;
}

std::vector<double> LinearTicks(double high) {
  const double raw = high / 5, power = std::pow(10, std::floor(std::log10(raw)));
  const double step = raw / power < 1.5 ? power : raw / power < 3.5 ? 2 * power : raw / power < 7.5 ? 5 * power : 10 * power;
  std::vector<double> ticks;
  for (double tick = 0; tick <= high * 1.001; tick += step) ticks.push_back(tick);
  return ticks;
}

// The range of the points' x (first) or y, widened to whole steps of 1, 2, 5 on a logarithmic axis.
Axis MakeAxis(const Plot& plot, bool is_x, double from, double to) {
  const bool log = is_x ? plot.log_x : plot.log_y;
  double low = 1e300, high = -1e300;
  for (const Line& line : plot.lines) {
    for (const auto& [x, y] : line.points) {
      const double value = is_x ? x : y;
      if (log && value <= 0) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (low > high) low = high = 1;
  if (!log) return {0, !is_x && plot.y_max > 0 ? plot.y_max : std::max(high * 1.05, 1e-12), from, to, false};
  low *= 0.8;
  high *= 1.25;
  if (high / low < 2.5) high = low * 2.5;
  return {low, high, from, to, true};
}

std::string Text(double x, double y, const char* anchor, const char* css, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">%s</text>\n", x, y, anchor, css,
                         EscapeXml(text));
}

std::string TickText(double value, bool is_time, bool is_percent) {
  if (is_percent) return absl::StrFormat("%g%%", value * 100);
  return is_time ? FormatSeconds(value) : absl::StrFormat("%g", value);
}

std::string DrawAxes(const Plot& plot, const Axis& x, const Axis& y) {
  std::string svg;
  const auto x_ticks = x.log ? LogTicks(x.low, x.high) : LinearTicks(x.high);
  const auto y_ticks = !plot.y_ticks.empty() ? plot.y_ticks : y.log ? LogTicks(y.low, y.high) : LinearTicks(y.high);
  for (double tick : x_ticks) {
    absl::StrAppendFormat(&svg, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x(tick),
                          y.from, x(tick), y.to);
    svg += Text(x(tick), y.from + 16, "middle", "tick", TickText(tick, plot.x_is_time, false));
  }
  for (double tick : y_ticks) {
    absl::StrAppendFormat(&svg, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x.from,
                          y(tick), x.to, y(tick));
    svg += Text(x.from - 6, y(tick) + 4, "end", "tick", TickText(tick, plot.y_is_time, plot.y_percent));
  }
  absl::StrAppendFormat(&svg, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", x.from, y.to, y.from, x.to);
  svg += Text((x.from + x.to) / 2, y.from + 35, "middle", "label", plot.x_label);
  return svg;
}

std::string DrawLine(const Line& line, const Axis& x, const Axis& y) {
  const char* color = kPalette[line.color % std::size(kPalette)];
  std::string path, marks;
  for (size_t i = 0; i < line.points.size(); ++i) {
    const double px = x(line.points[i].first), py = y(line.points[i].second);
    if (i == 0) {
      absl::StrAppendFormat(&path, "M%.1f %.1f", px, py);
    } else if (line.steps) {
      absl::StrAppendFormat(&path, "H%.1fV%.1f", px, py);
    } else {
      absl::StrAppendFormat(&path, "L%.1f %.1f", px, py);
    }
    if (line.markers) absl::StrAppendFormat(&marks, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>", px, py, color);
  }
  return absl::StrFormat("<path class=\"line\" stroke=\"%s\"%s d=\"%s\"/>%s\n", color,
                         line.dashed ? " stroke-dasharray=\"5 4\"" : "", path, marks);
}

std::vector<const Line*> NamedLines(const Plot& plot) {
  std::vector<const Line*> named;
  for (const Line& line : plot.lines) {
    if (!line.name.empty()) named.push_back(&line);
  }
  return named;
}

// Below the title, a line each.
std::string DrawLegend(const Plot& plot, double left, double top) {
  std::string svg;
  double y = top;
  for (const Line* line : NamedLines(plot)) {
    absl::StrAppendFormat(&svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"3\"/>\n",
                          left, y - 4, left + 20, y - 4, kPalette[line->color % std::size(kPalette)]);
    svg += Text(left + 27, y, "start", "legend", line->name);
    y += kLegendLine;
  }
  return svg;
}

}  // namespace

std::string FormatSeconds(double seconds) {
  if (seconds == 0) return "0";
  if (seconds < 0.9995e-3) return absl::StrFormat("%.3g µs", seconds * 1e6);
  if (seconds < 0.9995) return absl::StrFormat("%.3g ms", seconds * 1e3);
  return absl::StrFormat("%.3g s", seconds);
}

std::string EscapeXml(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string DrawPlot(const Plot& plot, const Box& box) {
  const Axis x = MakeAxis(plot, true, box.x + kLeft, box.x + box.width - kRight);
  const double legend = kLegendLine * static_cast<double>(NamedLines(plot).size());
  const Axis y = MakeAxis(plot, false, box.y + box.height - kBottom, box.y + kTop + legend);
  std::string svg = Text(box.x + 12, box.y + 20, "start", "title", plot.title);
  svg += DrawLegend(plot, box.x + 12, box.y + 39) + DrawAxes(plot, x, y);
  for (const Line& line : plot.lines) svg += DrawLine(line, x, y);
  return svg;
}

}  // namespace precis::load
