#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "runtime/model/text.h"
#include "runtime/training/metrics.h"

namespace precis::runtime {
namespace {

constexpr uint32_t kCrcMask = 0xa282ead8u;  // TFRecord's

uint32_t Masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + kCrcMask; }

template <class Number>
void AppendBytes(Number value, std::string* to) {
  to->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Protocol buffers' wire format: the four kinds of fields that Event needs.
void Varint(uint64_t value, std::string* to) {
  for (; value >= 128; value >>= 7) to->push_back(static_cast<char>(value | 128));
  to->push_back(static_cast<char>(value));
}
void Field(int number, std::string_view bytes, std::string* to) {
  Varint(static_cast<uint64_t>(number) << 3 | 2, to);
  Varint(bytes.size(), to);
  to->append(bytes);
}
void Field(int number, double value, std::string* to) {
  Varint(static_cast<uint64_t>(number) << 3 | 1, to);
  AppendBytes(value, to);
}
void Field(int number, float value, std::string* to) {
  Varint(static_cast<uint64_t>(number) << 3 | 5, to);
  AppendBytes(value, to);
}
void Field(int number, int64_t value, std::string* to) {
  Varint(static_cast<uint64_t>(number) << 3, to);
  Varint(static_cast<uint64_t>(value), to);
}

std::string Record(const std::string& event) {
  std::string record;
  AppendBytes(static_cast<uint64_t>(event.size()), &record);
  AppendBytes(Masked(Crc32c(record)), &record);
  record += event;
  AppendBytes(Masked(Crc32c(event)), &record);
  return record;
}

std::string Number(double value, int decimals) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

constexpr double kWidth = 860, kHeight = 420, kLeft = 70, kRight = 20, kTop = 40, kBottom = 50;
constexpr std::string_view kColours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd"};

struct Scale {
  double x0, x1, y0, y1;
  double X(double step) const { return kLeft + (step - x0) / (x1 - x0) * (kWidth - kLeft - kRight); }
  double Y(double value) const { return kHeight - kBottom - (value - y0) / (y1 - y0) * (kHeight - kTop - kBottom); }
};

Scale FitScale(const std::vector<Curve>& curves) {
  Scale s = {std::numeric_limits<double>::max(), -std::numeric_limits<double>::max(), std::numeric_limits<double>::max(), -std::numeric_limits<double>::max()};
  for (const Curve& curve : curves) {
    for (const auto& [step, value] : curve.points) {
      if (!std::isfinite(value)) continue;
      s.x0 = std::min(s.x0, static_cast<double>(step)), s.x1 = std::max(s.x1, static_cast<double>(step));
      s.y0 = std::min(s.y0, value), s.y1 = std::max(s.y1, value);
    }
  }
  if (s.x0 > s.x1) s = {0, 1, 0, 1};
  if (s.x0 == s.x1) s.x1 = s.x0 + 1;
  if (s.y0 == s.y1) s.y1 = s.y0 + 1;
  return s;
}

std::string Text(double x, double y, std::string_view anchor, std::string_view text) {
  return Cat("<text x=\"", Number(x, 1), "\" y=\"", Number(y, 1), "\" text-anchor=\"", anchor, "\">", text, "</text>\n");
}

std::string Axes(const Scale& s) {
  std::string svg;
  constexpr int kTicks = 5;
  for (int i = 0; i <= kTicks; ++i) {
    const double step = s.x0 + (s.x1 - s.x0) * i / kTicks, value = s.y0 + (s.y1 - s.y0) * i / kTicks;
    svg += Cat("<line x1=\"", Number(kLeft, 1), "\" x2=\"", Number(kWidth - kRight, 1), "\" y1=\"", Number(s.Y(value), 1), "\" y2=\"", Number(s.Y(value), 1),
               "\" stroke=\"#ddd\"/>\n");
    svg += Text(kLeft - 8, s.Y(value) + 4, "end", Number(value, 3));
    svg += Text(s.X(step), kHeight - kBottom + 20, "middle", Number(step, 0));
  }
  return svg + Text((kLeft + kWidth - kRight) / 2, kHeight - 10, "middle", "step");
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);  // Castagnoli, reflected
      t[i] = c;
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (char b : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(b)) & 255];
  return ~crc;
}

std::string EventFileHeader(double wall_time) {
  std::string event;
  Field(1, wall_time, &event);
  Field(3, std::string_view("brain.Event:2"), &event);
  return Record(event);
}

std::string EventRecord(double wall_time, int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [name, number] : scalars) {
    std::string value;
    Field(1, std::string_view(name), &value);
    Field(2, static_cast<float>(number), &value);
    Field(1, std::string_view(value), &summary);
  }
  std::string event;
  Field(1, wall_time, &event);
  Field(2, step, &event);
  Field(5, std::string_view(summary), &event);
  return Record(event);
}

std::string PrometheusText(int64_t step, const Scalars& scalars) {
  std::string text = Cat("# HELP precis_train_step Steps of the optimiser so far.\n# TYPE precis_train_step gauge\nprecis_train_step ", step, "\n");
  for (const auto& [name, value] : scalars) {
    std::string metric = "precis_train_";
    for (char c : name) metric += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '_';
    std::array<char, 64> number;
    std::snprintf(number.data(), number.size(), "%.9g", value);
    text += Cat("# HELP ", metric, " ", name, ", the newest.\n# TYPE ", metric, " gauge\n", metric, " ",
                std::isnan(value) ? "NaN" : std::isinf(value) ? (value > 0 ? "+Inf" : "-Inf") : number.data(), "\n");
  }
  return text;
}

std::string CurvesSvg(std::string_view title, const std::vector<Curve>& curves) {
  const Scale s = FitScale(curves);
  std::string svg = Cat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", Number(kWidth, 0), "\" height=\"", Number(kHeight, 0),
                        "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
  svg += Text(kLeft, 22, "start", title) + Axes(s);
  for (size_t i = 0; i < curves.size(); ++i) {
    const std::string_view colour = kColours[i % std::size(kColours)];
    std::string points;
    for (const auto& [step, value] : curves[i].points) {
      if (std::isfinite(value)) points += Cat(Number(s.X(static_cast<double>(step)), 1), ",", Number(s.Y(value), 1), " ");
    }
    svg += Cat("<polyline fill=\"none\" stroke=\"", colour, "\" stroke-width=\"1.5\" points=\"", points, "\"/>\n");
    svg += Cat("<text x=\"", Number(kWidth - kRight, 1), "\" y=\"", Number(22 + 16.0 * static_cast<double>(i), 1), "\" text-anchor=\"end\" fill=\"", colour, "\">",
               curves[i].name, "</text>\n");
  }
  return svg + "</svg>\n";
}

}  // namespace precis::runtime
