#ifndef PRECIS_CLIENT_LOAD_PLOT_H_
#define PRECIS_CLIENT_LOAD_PLOT_H_

#include <string>
#include <utility>
#include <vector>

namespace precis::load {

// Pixels.
struct Box {
  double x, y, width, height;
};

struct Line {
  std::string name;   // for the legend; empty: not in it
  int color = 0;      // index into the palette
  bool dashed = false;
  bool steps = false;
  bool markers = false;
  std::vector<std::pair<double, double>> points;
};

struct Plot {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  bool x_is_time = false, y_is_time = false;  // seconds: ticks read "20 ms"
  double y_max = 0;                           // 0: from the points
  std::vector<double> y_ticks;                // empty: chosen
  bool y_percent = false;
  std::vector<Line> lines;
};

// `plot` as SVG elements within `box`.
std::string DrawPlot(const Plot& plot, const Box& box);

// "250 µs", "20 ms", "1.5 s".
std::string FormatSeconds(double seconds);
std::string EscapeXml(const std::string& text);

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_PLOT_H_
