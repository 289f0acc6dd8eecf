#!/usr/bin/env python3
"""Writes data/stats_golden.json: inputs, and what scipy and statsmodels make of them.

  make_stats_golden.py           # writes the file (needs scipy and statsmodels, tests/requirements.txt)
  make_stats_golden.py --check   # exit status 1 if the stored numbers are not what these versions give

stats_golden_test.cc holds the statistics library to them.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint

OUTPUT = pathlib.Path(__file__).resolve().parent / "data/stats_golden.json"
GAMMA = np.log(1.01 / 0.99)


def to_bin_values(values):
    """The bins of the quantile sketch, as numbers in the same order."""
    return np.ceil(np.log(values) / GAMMA)


def clustered(rng, units, lift):
    """[(group, y, x)]: requests of units with a common effect, a covariate that explains part of it."""
    rows = []
    for group in rng.permutation(256)[:units]:
        effect = rng.normal(0, 0.4)
        for _ in range(rng.geometric(0.2)):
            x = rng.gamma(3, 100)
            rows.append((int(group), float(lift * np.exp(effect + 0.002 * x + rng.normal(0, 0.3))), float(x)))
    return rows


def mean_case(rows):
    """A mean with cluster-robust error: ordinary least squares on a constant, clustered by group."""
    groups, y = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    fit = sm.OLS(y, np.ones_like(y)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True})
    # statsmodels' correction is G / (G - 1) * (N - 1) / (N - K), K = 1.
    return {"mean": float(fit.params[0]), "se": float(fit.bse[0])}


def ancova_case(rng):
    """One request a unit: CUPED's difference is the treatment's coefficient beside the covariate."""
    n = 100
    x = rng.gamma(3, 100, 2 * n)
    treated = np.repeat([0, 1], n)
    y = 5 + 0.3 * treated + 0.01 * x + rng.normal(0, 1, 2 * n)
    fit = sm.OLS(y, np.column_stack([np.ones(2 * n), treated, x])).fit()
    return {"control": [[float(a), float(b)] for a, b in zip(y[:n], x[:n])],
            "treatment": [[float(a), float(b)] for a, b in zip(y[n:], x[n:])],
            "theta": float(fit.params[2]), "difference": float(fit.params[1])}


def mann_whitney_case(rng):
    x, y = rng.lognormal(0, 0.5, 150), rng.lognormal(0.15, 0.5, 130)
    result = stats.mannwhitneyu(to_bin_values(x), to_bin_values(y), use_continuity=False, method="asymptotic")
    return {"x": x.tolist(), "y": y.tolist(), "u": float(result.statistic), "p": float(result.pvalue)}


def wilcoxon_case(rng):
    d = rng.normal(0.01, 0.05, 200)
    d[:10] = 0
    binned = np.rint(d / 0.002)
    result = stats.wilcoxon(binned, zero_method="wilcox", correction=False, method="approx")
    return {"d": d.tolist(), "statistic": float(result.statistic), "p": float(result.pvalue)}


def welch_case(rng):
    """One request a unit: the fixed-horizon interval of a difference is Welch's."""
    x, y = rng.normal(10, 2, 80), rng.normal(10.7, 3, 60)
    result = stats.ttest_ind(y, x, equal_var=False)
    interval = result.confidence_interval(0.95)
    return {"control": x.tolist(), "treatment": y.tolist(), "low": float(interval.low), "high": float(interval.high),
            "p": float(result.pvalue), "degrees": float(result.df)}


def make():
    rng = np.random.default_rng(20240613)
    rows = clustered(rng, 120, 1.0)
    dirichlet = []
    for counts, shares in (([520, 480], [0.5, 0.5]), ([900, 80, 20], [0.9, 0.08, 0.02]), ([5600, 4400], [0.5, 0.5])):
        model = stats.dirichlet_multinomial(1000 * np.array(shares), sum(counts))
        null = stats.multinomial(sum(counts), shares)
        dirichlet.append({"counts": counts, "shares": shares, "log_factor": float(model.logpmf(counts) - null.logpmf(counts))})
    p_values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.2]
    quantiles = rng.lognormal(-2, 1, 2000)
    return {
        "normal": [{"p": p, "z": float(stats.norm.ppf(p))} for p in (0.001, 0.3, 0.8, 0.975, 0.9999)],
        "student": [{"p": p, "df": df, "t": float(stats.t.ppf(p, df))} for p in (0.9, 0.975, 0.9995) for df in (1, 7.5, 63, 255)],
        "student_p": [{"t": t, "df": df, "p": float(2 * stats.t.sf(abs(t), df))} for t in (0.1, 2, -5) for df in (3, 40)],
        "clustered": {"rows": rows, **mean_case(rows)},
        "ancova": ancova_case(rng),
        "welch": welch_case(rng),
        "mann_whitney": mann_whitney_case(rng),
        "wilcoxon": wilcoxon_case(rng),
        "wilson": [{"k": k, "n": n, "low": float(low), "high": float(high)} for k, n in ((0, 10), (7, 10), (81, 263), (500, 500))
                   for low, high in [proportion_confint(k, n, 0.05, method="wilson")]],
        "holm": {"p": p_values, "adjusted": [float(p) for p in multipletests(p_values, method="holm")[1]]},
        "dirichlet": dirichlet,
        "power": [{"effect": e, "n": float(NormalIndPower().solve_power(e, power=power, alpha=0.05)), "power": power}
                  for e in (0.05, 0.2) for power in (0.8, 0.9)],
        "quantiles": {"values": quantiles.tolist(), "at": [{"p": p, "value": float(np.quantile(quantiles, p))} for p in (0.01, 0.5, 0.9, 0.99)]},
    }


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return abs(a - b) <= 1e-7 * max(1.0, abs(a))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored file")
    arguments = parser.parse_args()
    made = make()
    if not arguments.check:
        OUTPUT.write_text(json.dumps(made, indent=None, separators=(",", ":")) + "\n")
        return 0
    if not same(made, json.loads(OUTPUT.read_text())):
        print(f"{OUTPUT} is not what this script makes", file=sys.stderr)
        return 1
    print("the stored numbers are those of scipy and statsmodels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
