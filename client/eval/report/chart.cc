#include "client/eval/report/chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace precis::eval {

// Okabe and Ito's colours, told apart by colour-blind readers too; greys for the baselines.
const char* const kPalette[kPaletteSize] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#aaaaaa"};
const char* const kDarkPalette[kPaletteSize] = {"#4fb3ea", "#ff8a3d", "#2fd0a0", "#e79cc8", "#f5bd3d", "#8fd0f5", "#b5b5b5", "#808080"};

namespace {

constexpr double kWidth = 560, kHeight = 340, kLeft = 70, kRight = 18, kBottom = 50, kTitleHeight = 30, kLegendRow = 18;

struct Axis {
  double low, high, from, to;
  bool log;
  double operator()(double value) const {
    const double share = log ? std::log(std::max(value, low) / low) / std::log(high / low) : (value - low) / (high - low);
    return from + std::clamp(share, 0.0, 1.0) * (to - from);
  }
};

// Whole steps of 1, 2 or 5; for bytes of powers of two.
double NiceStep(double range, Unit unit) {
  if (unit == Unit::kBytes) return std::exp2(std::ceil(std::log2(range / 6)));
  const double raw = range / 5, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

std::vector<double> Ticks(const Axis& axis, Unit unit) {
  std::vector<double> ticks;
  if (!axis.log) {
    const double step = NiceStep(axis.high - axis.low, unit);
    for (double tick = std::ceil(axis.low / step) * step; tick <= axis.high * 1.0001; tick += step) ticks.push_back(tick);
    return ticks;
  }
  const double base = unit == Unit::kBytes ? 2 : 10;
  double power = std::pow(base, std::floor(std::log(axis.low) / std::log(base)));
  const double spread = std::log10(axis.high / axis.low);
  for (; power <= axis.high * 1.001; power *= base) {
    if (base == 2) {
      const int every = std::max(1, static_cast<int>(std::ceil(std::log2(axis.high / axis.low) / 6)));
      if (power >= axis.low && static_cast<int>(std::lround(std::log2(power))) % every == 0) ticks.push_back(power);
      continue;
    }
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && spread > 2.2) continue;
      if (power * factor >= axis.low && power * factor <= axis.high * 1.001) ticks.push_back(power * factor);
    }
  }
  return ticks;
}

Axis MakeAxis(const Chart& chart, bool is_x, double from, double to) {
  const bool log = is_x ? chart.log_x : chart.log_y;
  double low = 1e300, high = -1e300;
  const auto take = [&](double value) {
    if (log && value <= 0) return;
    low = std::min(low, value);
    high = std::max(high, value);
  };
  for (const Series& series : chart.series) {
    for (const Series::Point& point : series.points) {
      take(is_x ? point.x : point.y);
      if (is_x || !point.interval) continue;
      take(point.interval->low);
      take(point.interval->high);
    }
  }
  if (low > high) low = high = 1;
  if (log) return {low * 0.8, std::max(high * 1.25, low * 2.5), from, to, true};
  const double top = !is_x && chart.y_max > 0 ? chart.y_max : high * 1.05;
  return {std::min(0.0, low), top > 0 ? top : 1, from, to, false};
}

std::string Text(double x, double y, const char* anchor, const char* css, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">%s</text>\n", x, y, anchor, css, EscapeMarkup(text));
}

std::string DrawGrid(const Chart& chart, const Axis& x, const Axis& y) {
  std::string svg;
  for (const double tick : Ticks(y, chart.y_unit)) {
    absl::StrAppendFormat(&svg, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", x.from, y(tick), x.to);
    svg += Text(x.from - 7, y(tick) + 4, "end", "tick", FormatValue(tick, chart.y_unit));
  }
  if (chart.categories.empty()) {
    for (const double tick : Ticks(x, chart.x_unit)) {
      absl::StrAppendFormat(&svg, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x(tick), y.from, y.to);
      svg += Text(x(tick), y.from + 17, "middle", "tick", FormatValue(tick, chart.x_unit));
    }
  }
  absl::StrAppendFormat(&svg, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", x.from, y.to, y.from, x.to);
  svg += Text((x.from + x.to) / 2, y.from + 39, "middle", "label", chart.x_label);
  absl::StrAppendFormat(&svg, "<text transform=\"translate(15 %.1f) rotate(-90)\" text-anchor=\"middle\" class=\"label\">%s</text>\n", (y.from + y.to) / 2,
                        EscapeMarkup(chart.y_label));
  return svg;
}

std::string Whisker(double x, const Interval& interval, const Axis& y, const char* css) {
  const double low = y(interval.low), high = y(interval.high);
  return absl::StrFormat("<path class=\"%s\" d=\"M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fH%.1f\"/>\n", css, x, low, high, x - 3, low, x + 3, x - 3, high, x + 3);
}

std::string Title(const Chart& chart, const Series& series, const Series::Point& point) {
  std::string text = absl::StrCat(series.name, ": ", FormatValue(point.y, chart.y_unit));
  if (point.interval) absl::StrAppend(&text, " (", FormatValue(point.interval->low, chart.y_unit), " to ", FormatValue(point.interval->high, chart.y_unit), ")");
  if (chart.categories.empty()) absl::StrAppend(&text, " at ", FormatValue(point.x, chart.x_unit));
  return "<title>" + EscapeMarkup(text) + "</title>";
}

std::string DrawBars(const Chart& chart, const Axis& x, const Axis& y) {
  std::string svg;
  const double slot = (x.to - x.from) / static_cast<double>(chart.categories.size());
  const double bar = slot * 0.8 / static_cast<double>(chart.series.size());
  for (size_t category = 0; category < chart.categories.size(); ++category) {
    const double left = x.from + slot * (static_cast<double>(category) + 0.1);
    for (size_t i = 0; i < chart.series.size(); ++i) {
      const Series& series = chart.series[i];
      if (category >= series.points.size()) continue;
      const Series::Point& point = series.points[category];
      const double at = left + bar * static_cast<double>(i), top = y(point.y), zero = y.from;
      absl::StrAppendFormat(&svg, "<rect class=\"fill s%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">%s</rect>\n", series.color, at, std::min(top, zero),
                            bar * 0.92, std::abs(zero - top), Title(chart, series, point));
      if (point.interval) svg += Whisker(at + bar * 0.46, *point.interval, y, "whisker");
    }
    svg += Text(left + slot * 0.4, y.from + 17, "middle", "tick", chart.categories[category]);
  }
  return svg;
}

std::string DrawSeries(const Chart& chart, const Series& series, const Axis& x, const Axis& y) {
  std::string path, marks;
  for (const Series::Point& point : series.points) {
    if ((chart.log_x && point.x <= 0) || (chart.log_y && point.y <= 0)) continue;
    const double at_x = x(point.x), at_y = y(point.y);
    absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : "L", at_x, at_y);
    if (point.interval) marks += Whisker(at_x, *point.interval, y, absl::StrCat("stroke s", series.color).c_str());
    if (series.marks) {
      absl::StrAppendFormat(&marks, "<circle class=\"fill s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\">%s</circle>\n", series.color, at_x, at_y, series.line ? "3.5" : "3",
                            Title(chart, series, point));
    }
  }
  if (!series.line) return marks;
  return absl::StrFormat("<path class=\"stroke s%d\"%s d=\"%s\"/>\n", series.color, series.dashed ? " stroke-dasharray=\"6 4\"" : "", path) + marks;
}

// Names in rows under the title; returns the number of rows.
int DrawLegend(const Chart& chart, std::string* svg) {
  double x = 14, y = kTitleHeight + 14;
  int rows = 1;
  for (const Series& series : chart.series) {
    if (series.name.empty()) continue;
    const double width = 26 + 6.7 * static_cast<double>(series.name.size());
    if (x > 14 && x + width > kWidth) {
      x = 14;
      y += kLegendRow;
      ++rows;
    }
    absl::StrAppendFormat(svg, "<rect class=\"fill s%d\" x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\"/>\n", series.color, x, y - 10);
    *svg += Text(x + 16, y, "start", "tick", series.name);
    x += width;
  }
  return rows;
}

std::string Style() {
  std::string css = "text{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#222}.title{font-size:14px;font-weight:bold}.tick{font-size:11px}"
                    ".label{font-size:12px;fill:#555}.grid{stroke:#ddd;fill:none}.axis{stroke:#555;fill:none}.whisker{stroke:#222;fill:none}"
                    ".stroke{fill:none;stroke-width:2}";
  for (int i = 0; i < kPaletteSize; ++i) absl::StrAppendFormat(&css, ".fill.s%d{fill:%s}.stroke.s%d{stroke:%s}", i, kPalette[i], i, kPalette[i]);
  return "<style>" + css + "</style>\n";
}

}  // namespace

std::string FormatValue(double value, Unit unit) {
  const double size = std::abs(value);
  switch (unit) {
    case Unit::kSeconds:
      if (size == 0) return "0";
      if (size < 0.9995e-3) return absl::StrFormat("%.3g µs", value * 1e6);
      if (size < 0.9995) return absl::StrFormat("%.3g ms", value * 1e3);
      return size < 1000 ? absl::StrFormat("%.3g s", value) : absl::StrFormat("%.0f s", value);
    case Unit::kBytes: {
      static constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB"};
      int power = 0;
      double scaled = value;
      for (; std::abs(scaled) >= 1023.5 && power < 4; ++power) scaled /= 1024;
      return absl::StrFormat("%.3g %s", scaled, kNames[power]);
    }
    case Unit::kPercent:
      return absl::StrFormat("%.3g%%", value * 100);
    case Unit::kNumber:
      break;
  }
  return size >= 1000 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.4g", value);
}

std::string EscapeMarkup(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string DrawChart(const Chart& chart, bool standalone) {
  std::string legend;
  const int rows = DrawLegend(chart, &legend);
  const double top = kTitleHeight + kLegendRow * rows + 8;
  const Axis x = MakeAxis(chart, true, kLeft, kWidth - kRight), y = MakeAxis(chart, false, kHeight - kBottom, top);
  std::string svg = absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\"%s role=\"img\" aria-label=\"%s\">\n", kWidth, kHeight,
                                    standalone ? absl::StrFormat(" width=\"%.0f\" height=\"%.0f\"", kWidth, kHeight) : "", EscapeMarkup(chart.title));
  if (standalone) absl::StrAppend(&svg, Style(), "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
  absl::StrAppend(&svg, Text(14, 21, "start", "title", chart.title), legend, DrawGrid(chart, x, y));
  if (!chart.categories.empty()) {
    svg += DrawBars(chart, x, y);
  } else {
    for (const Series& series : chart.series) svg += DrawSeries(chart, series, x, y);
  }
  return svg + "</svg>\n";
}

}  // namespace precis::eval
