"""PromQL over the metrics of server/metrics/metric_names.h.

A query names its metrics by the identifiers of that list, so that a metric that is renamed, removed or given another type
breaks the generator and not a dashboard.
"""

import pathlib
import re

METRICS = pathlib.Path(__file__).resolve().parents[2] / "server/metrics/metric_names.h"
RATE = "$__rate_interval"
ENTRY = re.compile(r'X\((\w+), "(\w+)", k(Counter|Gauge|Histogram), k(Request|Backend|Process)\b')
# What only a server on a GPU writes; a machine without one has no data in such a panel.
ONLY_WITH_GPU = re.compile(r"\bprecis_(gpu_\w+|request_energy_joules\w*)")


def read_metrics(text):
    """{identifier: (name, type, scope)}"""
    # The macro's line ends are no part of an entry.
    return {m[1]: (m[2], m[3], m[4]) for m in ENTRY.finditer(text.replace("\\\n", "\n"))}


def names_in(query):
    """The metrics that a query reads, without a histogram's suffixes."""
    names = re.findall(r"\b(?:precis|gen_ai)_[a-z0-9_]+", re.sub(r"\b(?:by|on|group_left) \([^)]*\)", "", query))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


class Queries:
    """Filtered by the dashboards' variables."""

    def __init__(self, metrics):
        self.metrics = metrics
        self.ids = {name: identifier for identifier, (name, _, _) in metrics.items()}

    def id_of(self, name):
        """The identifier of a metric that a build may lack, or None."""
        return self.ids.get(name)

    def series(self, metric, kind, suffix="", where=""):
        name, actual, scope = self.metrics[metric]
        if actual != kind:
            raise ValueError(f"{metric} is a {actual}, not a {kind}")
        filters = ['instance=~"$instance"']
        if scope == "Request":
            filters += ['model=~"$model"', 'attention_backend=~"$backend"']
        if where:
            filters.append(where)
        return f"{name}{suffix}{{{','.join(filters)}}}"

    @staticmethod
    def _over(function, by):
        return f"{function} by ({by})" if by else function

    def rate(self, metric, by="", where=""):
        return f"{self._over('sum', by)} (rate({self.series(metric, 'Counter', where=where)}[{RATE}]))"

    def gauge(self, metric, by="", where="", function="sum"):
        return f"{self._over(function, by)} ({self.series(metric, 'Gauge', where=where)})"

    def peak(self, metric, by="", where=""):
        return self.gauge(metric, by, where, "max")

    def trough(self, metric, by="", where=""):
        return self.gauge(metric, by, where, "min")

    def quantile(self, q, metric, by="", where=""):
        buckets = self.series(metric, "Histogram", "_bucket", where)
        return f"histogram_quantile({q}, sum by ({', '.join(filter(None, ['le', by]))}) (rate({buckets}[{RATE}])))"

    def mean(self, metric, by="", where=""):
        total, count = (self.series(metric, "Histogram", s, where) for s in ("_sum", "_count"))
        return f"{self._over('sum', by)} (rate({total}[{RATE}])) / {self._over('sum', by)} (rate({count}[{RATE}]))"

    def share(self, part, whole):
        """0 where nothing was counted, not a division by zero."""
        return f"(({part}) or vector(0)) / (({whole}) > 0)"
