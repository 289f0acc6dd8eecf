'use strict';
// Reads /experiments.json (a list of precis.v1.Report) and draws it anew every few seconds.

const SVG = 'http://www.w3.org/2000/svg';
const EVERY_MS = 5000;

function el(parent, tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

function draw(parent, tag, attributes, text) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

const number = (x) => Number(x).toLocaleString('en');
const percent = (x) => (100 * x).toFixed(Math.abs(x) < 0.1 ? 1 : 0) + '%';
const signed = (x) => (x > 0 ? '+' : '') + percent(x);

function value(outcome, x) {
  if (outcome.endsWith('_seconds')) return x < 1 ? (1000 * x).toPrecision(3) + ' ms' : x.toPrecision(3) + ' s';
  if (outcome.endsWith('_bytes')) return (x / 2 ** 20).toPrecision(3) + ' MiB';
  return Number(x.toPrecision(3)).toString();
}

// A relative effect in percent; a difference of shares in points; of scores as it is.
function lift(effect, x) {
  if (effect.relative) return signed(x);
  if (effect.outcome === 'score' || effect.statistic === 'mann_whitney') return (x > 0 ? '+' : '') + x.toFixed(3);
  return (x > 0 ? '+' : '') + (100 * x).toFixed(2) + ' pts';
}

const OUTCOMES = {total_seconds: 'Total time', time_to_first_token_seconds: 'First token', time_per_output_token_seconds: 'Time per token', queue_seconds: 'Queue',
  peak_memory_bytes: 'Peak memory', new_tokens: 'New tokens', error: 'Errors', thumbs: 'Thumbs up', edit_ratio: 'Edited share', score: 'Score'};
const decided = (e) => !e.not_yet && (e.low > 0 || e.high < 0);
const NEUTRAL = new Set(['new_tokens']);
function verdictClass(e) {
  if (!decided(e) || NEUTRAL.has(e.outcome)) return '';
  return (e.low > 0) === e.lower_is_better ? 'bad' : 'good';
}

function card(parent, title, className, note) {
  const section = el(parent, 'section', 'card ' + className);
  section.setAttribute('aria-label', title);
  el(section, 'h2', '', title);
  if (note) el(section, 'p', 'note', note);
  return section;
}

const TEXT_COLUMNS = new Set(['Backend', 'State']);

function table(parent, heads, className) {
  const scroll = el(parent, 'div', 'scroll');
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'region');
  scroll.setAttribute('aria-label', heads[0]);
  const t = el(scroll, 'table', className);
  const row = el(el(t, 'thead'), 'tr');
  for (const head of heads) el(row, 'th', TEXT_COLUMNS.has(head) ? 'text' : '', head).scope = 'col';
  return el(t, 'tbody');
}

function keys(parent, names, colours) {
  const box = el(parent, 'p', 'keys');
  for (const name of names) {
    const item = el(box, 'span');
    el(item, 'i', 'key ' + colours.get(name));
    item.append(name);
  }
}

function drawTitle(parent, report) {
  const e = report.experiment;
  const title = el(parent, 'div', 'title');
  el(title, 'h2', '', e.name);
  const stopped = report.arms.every((a) => a.state === 'ARM_STATE_STOPPED');
  el(title, 'p', 'pill ' + (stopped ? 'bad' : e.share > 0 ? 'good' : ''), stopped ? 'stopped' : e.share > 0 ? 'running' : 'not running');
  if (report.sample_ratio.alarm) el(title, 'p', 'pill bad', 'wrong sample ratio');
  if (e.aa) el(title, 'p', 'pill', 'A/A');
  const facts = [percent(e.share) + ' of units', 'batching ' + e.batching, e.model ? 'model ' + e.model : 'any model'];
  if (e.layer) facts.push('layer ' + e.layer);
  if (Number(report.since_unix_seconds)) facts.push('since ' + new Date(1000 * report.since_unix_seconds).toISOString().slice(0, 16).replace('T', ' '));
  facts.push('generation ' + e.config_generation);
  if (report.peers.length) facts.push('with ' + report.peers.length + ' peers');
  el(title, 'p', 'facts', facts.join(' · '));
}

function drawVerdicts(parent, report) {
  const section = card(parent, 'Verdict', 'full', '');
  for (const arm of report.arms.filter((a) => a.verdict)) el(section, 'p', 'verdict', arm.verdict);
  const list = el(section, 'ul', 'list decisions');
  for (const d of report.decisions) {
    el(list, 'li', '', `${new Date(1000 * d.unix_seconds).toISOString().slice(0, 19).replace('T', ' ')}: ${d.arm || 'the experiment'} stopped by ${d.guardrail}: ${d.detail}`);
  }
  for (const missing of report.missing_peers) el(list, 'li', '', 'without ' + missing);
}

function drawArms(parent, report, colours) {
  const ratio = report.sample_ratio;
  const section = card(parent, 'Arms', 'full', `Sample ratio ${ratio.alarm ? 'WRONG' : 'as configured'}, p = ${ratio.p_value.toPrecision(2)}; compared with ${report.experiment.control}`);
  const body = table(section, ['Arm', 'Backend', 'State', 'Share', 'Units', 'Requests', 'Errors', 'p50', 'p90', 'p99', 'Thumbs up']);
  report.arms.forEach((arm, i) => {
    const row = el(body, 'tr');
    const head = el(row, 'th');
    head.scope = 'row';
    el(head, 'i', 'key ' + colours.get(arm.name));
    head.append(arm.name);
    const q = arm.outcomes.find((o) => o.outcome === report.primary_outcome);
    const thumbs = arm.outcomes.find((o) => o.outcome === 'thumbs');
    const cells = [arm.attention_backend, arm.state === 'ARM_STATE_STOPPED' ? 'stopped' : 'running', percent(ratio.expected[i]), number(arm.units), number(arm.requests),
      number(arm.errors), ...['p50', 'p90', 'p99'].map((p) => (q ? value(q.outcome, q[p]) : '–')), thumbs ? percent(thumbs.mean) : '–'];
    cells.forEach((text, c) => el(row, 'td', c < 2 ? 'text' : '', text));
  });
}

function drawInterval(cell, effect) {
  const svg = draw(cell, 'svg', {viewBox: '0 0 190 24', role: 'img', 'aria-label': `${lift(effect, effect.low)} to ${lift(effect, effect.high)}`});
  // The same scale for all effects of a kind; what leaves it is cut.
  const most = effect.relative ? 0.5 : 0.2;
  const x = (v) => 95 + 90 * Math.max(-1, Math.min(1, v / most));
  draw(svg, 'line', {class: 'zero', x1: 95, x2: 95, y1: 2, y2: 22, stroke: 'currentColor', 'stroke-opacity': .35});
  draw(svg, 'line', {class: 'span ' + verdictClass(effect), x1: x(effect.low), x2: Math.max(x(effect.high), x(effect.low) + 1), y1: 12, y2: 12});
  draw(svg, 'circle', {class: 'dot', cx: x(effect.lift), cy: 12, r: 4});
}

function drawEffects(parent, report, arm) {
  if (!arm.effects.length) return;
  const section = card(parent, `${arm.name} against ${report.experiment.control}`, 'full', `${percent(1 - report.alpha)} always-valid intervals; p after Holm; units an arm needs to see ${percent(report.mde)}`);
  const body = table(section, ['Outcome', 'Lift', '', 'Interval', 'p', report.experiment.control, arm.name, 'Units needed'], 'effects');
  for (const e of arm.effects) {
    const row = el(body, 'tr');
    const head = el(row, 'th', '', OUTCOMES[e.outcome] || e.outcome);
    head.scope = 'row';
    head.title = e.outcome;
    el(head, 'span', 'statistic', e.statistic);
    el(row, 'td', '', lift(e, e.lift));
    const interval = el(row, 'td', 'interval');
    if (!e.not_yet) drawInterval(interval, e);
    el(row, 'td', '', e.not_yet || `${lift(e, e.low)} .. ${lift(e, e.high)}`);
    el(row, 'td', '', e.not_yet ? '–' : e.adjusted_p_value < 0.001 ? '< 0.001' : e.adjusted_p_value.toFixed(3));
    el(row, 'td', '', value(e.outcome, e.control));
    el(row, 'td', '', value(e.outcome, e.treatment));
    el(row, 'td', '', e.not_yet ? '–' : number(e.units_needed_always_valid));
  }
}

// Drawn at its own size, so that letters have theirs.
const plotWidth = (section) => Math.max(260, Math.round(section.clientWidth - 34));

function roundStep(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
}

function drawHistory(parent, report, colours) {
  const section = card(parent, 'Lift over time', 'half', `p50 of ${report.primary_outcome} against ${report.experiment.control}, with its always-valid interval`);
  const points = report.history;
  if (points.length < 2) { el(section, 'p', 'note', 'Comes once there are enough units'); return; }
  const width = plotWidth(section), height = 230, left = 52, bottom = 24, top = 8;
  const times = points.map((p) => Number(p.unix_seconds));
  const t0 = Math.min(...times), t1 = Math.max(...times, t0 + 1);
  const sorted = points.flatMap((p) => [p.low, p.high]).sort((a, b) => a - b);
  const low = Math.min(0, Math.max(-1, sorted[Math.floor(0.02 * sorted.length)])), high = Math.max(0.01, Math.min(2, sorted[Math.ceil(0.98 * sorted.length) - 1]));
  const x = (t) => left + (width - left - 8) * (t - t0) / (t1 - t0);
  const y = (v) => top + (height - top - bottom) * (high - Math.max(low, Math.min(high, v))) / (high - low);
  const svg = draw(section, 'svg', {class: 'plot', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': 'Lift over time'});
  const step = roundStep((high - low) / 4);
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    draw(svg, 'line', {class: 'grid', x1: left, x2: width - 8, y1: y(v), y2: y(v)});
    draw(svg, 'text', {x: left - 6, y: y(v) + 4, 'text-anchor': 'end'}, Math.abs(v) < 1e-9 ? '0' : signed(v));
  }
  draw(svg, 'line', {class: 'zero', x1: left, x2: width - 8, y1: y(0), y2: y(0)});
  for (const [t, anchor] of [[t0, 'start'], [t1, 'end']]) {
    draw(svg, 'text', {x: x(t), y: height - 6, 'text-anchor': anchor}, new Date(1000 * t).toISOString().slice(5, 19).replace('T', ' '));
  }
  const arms = [...new Set(points.map((p) => p.arm))];
  for (const arm of arms) {
    const own = points.filter((p) => p.arm === arm), at = (f) => own.map((p) => `${x(Number(p.unix_seconds)).toFixed(1)},${y(f(p)).toFixed(1)}`);
    draw(svg, 'polygon', {class: 'band ' + colours.get(arm), points: [...at((p) => p.low), ...at((p) => p.high).reverse()].join(' ')});
    draw(svg, 'polyline', {class: 'line ' + colours.get(arm), points: at((p) => p.lift).join(' ')});
  }
  keys(section, arms, colours);
}

function drawDistributions(parent, report, colours) {
  const section = card(parent, 'Distributions', 'half', `${report.primary_outcome}, logarithmic scale, each arm's share of requests`);
  const arms = report.arms.map((a) => [a.name, a.outcomes.find((o) => o.outcome === report.primary_outcome)]).filter(([, q]) => q && q.bounds.length > 1);
  if (!arms.length) { el(section, 'p', 'note', 'No requests yet'); return; }
  const width = plotWidth(section), height = 230, bottom = 24, top = 8;
  const logs = arms.flatMap(([, q]) => q.bounds.map(Math.log));
  const from = Math.min(...logs) - 0.1, to = Math.max(...logs) + 0.1;
  const density = ([, q]) => q.shares.map((s, i) => s / Math.max(1e-9, i ? Math.log(q.bounds[i] / q.bounds[i - 1]) : Math.log(q.bounds[1] / q.bounds[0])));
  const most = Math.max(...arms.flatMap(density));
  const x = (v) => 8 + (width - 16) * (Math.log(v) - from) / (to - from), y = (d) => top + (height - top - bottom) * (1 - d / most);
  const svg = draw(section, 'svg', {class: 'plot', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': 'Distributions by arm'});
  for (const arm of arms) {
    const q = arm[1], d = density(arm), ratio = q.bounds[1] / q.bounds[0];
    const corners = [`${x(q.bounds[0] / ratio)},${y(0)}`];
    d.forEach((v, i) => corners.push(`${x(i ? q.bounds[i - 1] : q.bounds[0] / ratio).toFixed(1)},${y(v).toFixed(1)}`, `${x(q.bounds[i]).toFixed(1)},${y(v).toFixed(1)}`));
    corners.push(`${x(q.bounds[q.bounds.length - 1])},${y(0)}`);
    draw(svg, 'polygon', {class: 'area ' + colours.get(arm[0]), points: corners.join(' ')});
  }
  const ticks = width < 400 ? 2 : 4;
  for (let i = 0; i <= ticks; ++i) {
    const v = Math.exp(from + (to - from) * i / ticks);
    draw(svg, 'text', {x: x(v), y: height - 6, 'text-anchor': i === 0 ? 'start' : i === ticks ? 'end' : 'middle'}, value(report.primary_outcome, v));
  }
  keys(section, arms.map(([name]) => name), colours);
}

function drawShadow(parent, report) {
  const arms = report.arms.filter((a) => a.shadow && (Number(a.shadow.pairs) || Number(a.shadow.dropped)));
  if (!arms.length) return;
  const section = card(parent, 'Shadow pairs', 'full', `${percent(report.experiment.shadow_sampling)} of requests replayed on both arms while the server is idle; no user waits for them. Their interval and p are for one look`);
  const body = table(section, ['Arm', 'Pairs', 'Dropped', 'Identical answers', 'Tokens that agree', 'ROUGE-L', 'First difference', 'Time', 'p (one look)', 'First token']);
  for (const arm of arms) {
    const s = arm.shadow, n = Number(s.pairs);
    const row = el(body, 'tr');
    el(row, 'th', '', arm.name).scope = 'row';
    const cells = n ? [number(n), number(s.dropped), `${percent(s.identical / n)} (${percent(s.identical_low)}..${percent(s.identical_high)})`, percent(s.token_agreement), s.rouge_l.toFixed(3),
      s.first_divergence_tokens ? 'token ' + s.first_divergence_tokens.toFixed(1) : '–', '×' + s.latency_ratio.toFixed(3), s.latency_p_value.toPrecision(2), '×' + s.first_token_ratio.toFixed(3)] :
      ['0', number(s.dropped), ...Array(7).fill('–')];
    for (const text of cells) el(row, 'td', '', text);
  }
}

function show(reports) {
  const main = document.getElementById('experiments');
  const scrolled = [...document.querySelectorAll('.scroll')].map((e) => e.scrollLeft);
  main.replaceChildren();
  for (const report of reports) {
    const box = el(main, 'article', 'experiment');
    box.setAttribute('aria-label', 'Experiment ' + report.experiment.name);
    const colours = new Map(report.arms.map((arm, i) => [arm.name, 'c' + i % 8]));
    drawTitle(box, report);
    drawVerdicts(box, report);
    drawArms(box, report, colours);
    drawHistory(box, report, colours);
    drawDistributions(box, report, colours);
    for (const arm of report.arms) drawEffects(box, report, arm);
    drawShadow(box, report);
  }
  if (!reports.length) card(main, 'No experiments', 'full', 'Start the server with --experiments-file=FILE; deploy/README.md shows how.');
  document.querySelectorAll('.scroll').forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
}

async function poll() {
  const state = document.getElementById('state'), alert = document.getElementById('alert');
  try {
    const reply = await fetch('/experiments.json');
    if (!reply.ok) throw new Error('HTTP ' + reply.status);
    const reports = await reply.json();
    // Not under a reader's hands.
    if (!document.activeElement || document.activeElement === document.body || !document.activeElement.closest('.scroll')) show(reports);
    state.textContent = reports.length === 1 ? '1 experiment' : reports.length + ' experiments';
    state.className = 'pill good';
    alert.hidden = true;
  } catch (error) {
    state.textContent = 'no answer';
    state.className = 'pill bad';
    alert.textContent = 'The server did not answer: ' + error.message + '. What is shown is old.';
    alert.hidden = false;
  }
  setTimeout(poll, EVERY_MS);
}
poll();
