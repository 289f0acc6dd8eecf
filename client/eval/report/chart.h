#ifndef PRECIS_CLIENT_EVAL_REPORT_CHART_H_
#define PRECIS_CLIENT_EVAL_REPORT_CHART_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/eval/stats/resampling.h"

namespace precis::eval {

enum class Unit { kNumber, kSeconds, kBytes, kPercent };

// "12.3 ms", "1.5 MiB", "34.5", "12%".
std::string FormatValue(double value, Unit unit);
std::string EscapeMarkup(const std::string& text);

struct Series {
  struct Point {
    double x = 0, y = 0;
    std::optional<Interval> interval;  // of y, as a whisker
  };
  std::string name;
  int color = 0;  // of the palette: one for each system, the same in all charts
  bool line = false, marks = true, dashed = false;
  std::vector<Point> points;
};

// Points and lines over x, or with `categories` bars: point i of each series belongs to category i.
struct Chart {
  std::string id, title, x_label, y_label;  // `id` is also the file's name
  Unit x_unit = Unit::kNumber, y_unit = Unit::kNumber;
  bool log_x = false, log_y = false;
  double y_max = 0;  // 0: from the points
  std::vector<std::string> categories;
  std::vector<Series> series;
};

// An <svg> element without scripts. Standalone: with its own colours and white ground, to be kept as a file; otherwise the page's style
// sheet colours it (classes axis, grid, tick, label, title, s0 ..).
std::string DrawChart(const Chart& chart, bool standalone);

// Renders an SVG by librsvg at twice its size.
absl::Status WritePng(const std::string& svg, const std::string& path);

// Of a system's series and of the same in dark mode.
inline constexpr int kPaletteSize = 8;
extern const char* const kPalette[kPaletteSize];
extern const char* const kDarkPalette[kPaletteSize];

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_REPORT_CHART_H_
