#include "absl/strings/str_format.h"
#include "client/eval/report/writers.h"

namespace precis::eval {

std::string ReportStyle() {
  std::string css = R"(
:root{color-scheme:light dark;--ground:#fff;--ink:#1d2126;--soft:#5b636d;--line:#d9dde2;--panel:#f6f7f9;--bad:#b3261e;--mark:#fff1b8;--changed:#d7ecff}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--ink:#e7eaee;--soft:#9aa4b0;--line:#353b43;--panel:#1c2026;--bad:#ff8a80;--mark:#574a12;--changed:#173a57}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0}h2{font-size:1.25rem;margin:2.2em 0 .6em;padding-top:.4em;border-top:1px solid var(--line)}h3{font-size:1rem;margin:1.6em 0 .5em}
p,li{max-width:78ch}p,li,h3,h4{overflow-wrap:anywhere}.soft,caption,footer{color:var(--soft)}.verdict{background:var(--panel);border-left:4px solid #0072b2;padding:10px 18px;border-radius:4px}
.verdict li{margin:.35em 0}.scroll{overflow-x:auto;margin:0 0 1.4em}table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;min-width:min(100%,420px)}
caption{text-align:left;padding:.2em 0 .4em;font-size:.9rem}th,td{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child,td.text,th.text{text-align:left}td.text{white-space:normal;min-width:7em;max-width:18em}thead th{color:var(--soft);font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:18px}.charts figure{margin:0;background:var(--panel);border-radius:6px;padding:8px}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-family:inherit}svg .title{font-size:14px;font-weight:600}svg .tick{font-size:11px}svg .label{font-size:12px;fill:var(--soft)}
svg .grid{stroke:var(--line);fill:none}svg .axis{stroke:var(--soft);fill:none}svg .whisker{stroke:var(--ink);fill:none}svg .stroke{fill:none;stroke-width:2}
.example{border:1px solid var(--line);border-radius:6px;padding:12px 16px;margin:0 0 18px}.texts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:16px}
.texts section{min-width:0}.texts h4{margin:.2em 0;font-size:.9rem}.texts p{margin:.2em 0;font-size:.92rem;overflow-wrap:anywhere;white-space:pre-line}
details p{white-space:pre-line;overflow-wrap:anywhere;font-size:.9rem}summary{cursor:pointer;color:var(--soft)}
mark{background:var(--changed);color:inherit;border-radius:2px}.invented{color:var(--bad);text-decoration:underline wavy;text-underline-offset:3px}
code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:.86em;overflow-wrap:anywhere}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:.9rem}dt{color:var(--soft)}dd{margin:0;min-width:0;overflow-wrap:anywhere}
@media(max-width:560px){main{padding:14px 12px 40px}dl{grid-template-columns:1fr}dt{margin-top:.4em}}
@media print{body{background:#fff;color:#000}.charts figure,.verdict,.example{break-inside:avoid}}
)";
  for (int i = 0; i < kPaletteSize; ++i) absl::StrAppendFormat(&css, ".fill.s%d{fill:%s}.stroke.s%d{stroke:%s}", i, kPalette[i], i, kPalette[i]);
  css += "@media(prefers-color-scheme:dark){";
  for (int i = 0; i < kPaletteSize; ++i) absl::StrAppendFormat(&css, ".fill.s%d{fill:%s}.stroke.s%d{stroke:%s}", i, kDarkPalette[i], i, kDarkPalette[i]);
  return css + "}";
}

}  // namespace precis::eval
