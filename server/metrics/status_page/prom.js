'use strict';
// Reads Prometheus' text format and turns successive scrapes into rates and percentiles.

// [{name, labels, value}] of a text exposition.
function parseExposition(text) {
  const samples = [];
  const label = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
  for (const line of text.split('\n')) {
    if (!line || line[0] === '#') continue;
    const brace = line.indexOf('{');
    const end = line.lastIndexOf('}');
    const labels = {};
    if (brace >= 0) {
      for (const m of line.slice(brace + 1, end).matchAll(label)) {
        labels[m[1]] = m[2].replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
      }
    }
    const name = brace >= 0 ? line.slice(0, brace) : line.slice(0, line.indexOf(' '));
    const rest = (brace >= 0 ? line.slice(end + 1) : line.slice(name.length)).trim().split(' ')[0];
    const value = rest === '+Inf' ? Infinity : rest === '-Inf' ? -Infinity : Number(rest);
    samples.push({name, labels, value});
  }
  return samples;
}

// A sum over all series of a metric, by a key made from the labels; keyOf may return null to leave a series out.
class Totals {
  constructor() { this.byKey = new Map(); }
  add(key, value) { this.byKey.set(key, (this.byKey.get(key) || 0) + value); }
  get(key) { return this.byKey.get(key) || 0; }
  keys() { return [...this.byKey.keys()]; }
}

// Cumulative bucket counts by key: {bounds, counts}; bounds come from `le`.
class Histograms {
  constructor() { this.byKey = new Map(); }
  add(key, le, count) {
    let buckets = this.byKey.get(key);
    if (!buckets) this.byKey.set(key, buckets = new Map());
    buckets.set(le, (buckets.get(le) || 0) + count);
  }
  get(key) { return this.byKey.get(key) || new Map(); }
  keys() { return [...this.byKey.keys()]; }
}

const bound = (le) => (le === '+Inf' ? Infinity : Number(le));

// How many observations fell between two scrapes, and their quantiles; null where there were none.
function quantiles(now, before, qs) {
  const buckets = [...now].map(([le, count]) => [bound(le), count - (before.get(le) || 0)]).sort((a, b) => a[0] - b[0]);
  const count = buckets.length ? buckets[buckets.length - 1][1] : 0;
  return {count, values: qs.map((q) => (count > 0 ? quantile(buckets, count, q) : null))};
}

// As PromQL's histogram_quantile: linear inside a bucket; the last finite bound stands for what lies above it.
function quantile(buckets, count, q) {
  const rank = q * count;
  const i = buckets.findIndex((b) => b[1] >= rank);
  if (buckets[i][0] === Infinity) return i > 0 ? buckets[i - 1][0] : null;
  const low = i > 0 ? buckets[i - 1] : [0, 0];
  const inside = buckets[i][1] - low[1];
  return inside > 0 ? low[0] + (buckets[i][0] - low[0]) * (rank - low[1]) / inside : buckets[i][0];
}

const armKey = (l) => (l.experiment && l.experiment !== 'none' ? l.experiment + '\n' + l.arm : null);
const backendKey = (l) => l.attention_backend;

// One scrape, reduced to what the page draws.
function reduceScrape(samples, time) {
  const scrape = {
    time, scalars: {}, latency: new Histograms(), firstToken: new Histograms(), interToken: new Histograms(),
    peakMemory: new Histograms(), armLatency: new Histograms(), armFirstToken: new Histograms(), tokens: new Totals(),
    armTokens: new Totals(), requests: new Totals(), failed: new Totals(), armRequests: new Totals(),
    armFailed: new Totals(), rejected: new Totals(), running: new Totals(), waiting: new Totals(),
    memory: new Totals(), kv: new Totals(), workspacePeak: new Totals(),
  };
  for (const s of samples) readSample(scrape, s.name, s.labels, s.value);
  return scrape;
}

function addHistogram(all, arms, l, value) {
  all.add(backendKey(l), l.le, value);
  if (arms && armKey(l)) arms.add(armKey(l), l.le, value);
}

function addCounter(all, arms, l, value) {
  all.add(backendKey(l), value);
  if (armKey(l)) arms.add(armKey(l), value);
}

function readSample(s, name, l, value) {
  switch (name) {
    case 'gen_ai_server_request_duration_seconds_bucket':
      if (!l.error_type) addHistogram(s.latency, s.armLatency, l, value);
      break;
    case 'gen_ai_server_time_to_first_token_seconds_bucket': addHistogram(s.firstToken, s.armFirstToken, l, value); break;
    case 'precis_inter_token_latency_seconds_bucket': addHistogram(s.interToken, null, l, value); break;
    case 'precis_request_peak_memory_bytes_bucket': addHistogram(s.peakMemory, null, l, value); break;
    case 'precis_generation_tokens_total': addCounter(s.tokens, s.armTokens, l, value); break;
    case 'precis_requests_total':
      addCounter(s.requests, s.armRequests, l, value);
      if (l.grpc_code !== 'OK') addCounter(s.failed, s.armFailed, l, value);
      break;
    case 'precis_requests_rejected_total': s.rejected.add(l.reason, value); break;
    case 'precis_requests_running': s.running.add(backendKey(l), value); break;
    case 'precis_requests_waiting': s.waiting.add(l.priority, value); break;
    case 'precis_memory_bytes':
      s.memory.add(l.kind, value);
      if (l.kind === 'kv') s.kv.add(backendKey(l), value);
      break;
    case 'precis_memory_peak_bytes':
      if (l.kind === 'attention_workspace' && l.attention_backend !== 'none') s.workspacePeak.add(backendKey(l), value);
      break;
    case 'precis_build_info': s.scalars.isa = l.isa; break;
    default:
      if (/^precis_(kv_cache_utilization_ratio|ready|draining|config_generation)$/.test(name)) s.scalars[name] = value;
  }
}

// The scrapes of the last `keepSeconds`. A counter that went down means another process: what was before is dropped.
class History {
  constructor(keepSeconds) { this.keepSeconds = keepSeconds; this.scrapes = []; }
  push(scrape) {
    const last = this.last();
    const total = (s) => s.requests.keys().reduce((sum, key) => sum + s.requests.get(key), 0) +
        s.tokens.keys().reduce((sum, key) => sum + s.tokens.get(key), 0);
    if (last && total(scrape) < total(last)) this.scrapes = [];
    this.scrapes.push(scrape);
    while (this.scrapes[0].time < scrape.time - this.keepSeconds) this.scrapes.shift();
  }
  last() { return this.scrapes[this.scrapes.length - 1]; }
  // The oldest scrape at most `seconds` older than scrape number i; null if that is scrape i itself.
  before(i, seconds) {
    let j = i;
    while (j > 0 && this.scrapes[j - 1].time >= this.scrapes[i].time - seconds - 0.25) --j;
    return j < i ? this.scrapes[j] : null;
  }
}
