#include <cairo.h>
#include <librsvg/rsvg.h>

#include "absl/strings/str_cat.h"
#include "client/eval/report/chart.h"

namespace precis::eval {

absl::Status WritePng(const std::string& svg, const std::string& path) {
  constexpr double kScale = 2;
  GError* error = nullptr;
  RsvgHandle* const handle = rsvg_handle_new_from_data(reinterpret_cast<const guint8*>(svg.data()), svg.size(), &error);
  if (handle == nullptr) {
    const std::string message = error != nullptr ? error->message : "unknown";
    g_clear_error(&error);
    return absl::InternalError(absl::StrCat("librsvg can't read the chart for '", path, "': ", message));
  }
  gdouble width = 0, height = 0;
  rsvg_handle_get_intrinsic_size_in_pixels(handle, &width, &height);
  cairo_surface_t* const surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width * kScale), static_cast<int>(height * kScale));
  cairo_t* const context = cairo_create(surface);
  const RsvgRectangle viewport = {0, 0, width * kScale, height * kScale};
  absl::Status status;
  if (!rsvg_handle_render_document(handle, context, &viewport, &error)) {
    status = absl::InternalError(absl::StrCat("librsvg can't draw the chart for '", path, "': ", error->message));
    g_clear_error(&error);
  }
  cairo_destroy(context);
  const cairo_status_t written = cairo_surface_write_to_png(surface, path.c_str());
  if (written != CAIRO_STATUS_SUCCESS) status.Update(absl::NotFoundError(absl::StrCat("can't write '", path, "': ", cairo_status_to_string(written))));
  cairo_surface_destroy(surface);
  g_object_unref(handle);
  return status;
}

}  // namespace precis::eval
