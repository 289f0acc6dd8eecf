'use strict';
// Polls /metrics, keeps fifteen minutes of it and draws the page.

const POLL_MS = 1500;
const QUANTILES = [['p50', 0.5], ['p95', 0.95], ['p99', 0.99]];
const PRIORITIES = ['high', 'normal', 'low'];
const MEMORY_KINDS = ['weights', 'kv', 'activations', 'attention_workspace'];
const KIND_NAMES = {weights: 'weights', kv: 'KV cache', activations: 'activations', attention_workspace: 'attention workspace'};
const $ = (id) => document.getElementById(id);

const state = {history: new History(930), facts: {}, hidden: new Set(), colors: new Map(), paused: false, failures: 0, polls: 0};
const views = {};

// ---- numbers as text ----

function digits(value) { return value >= 100 ? 0 : value >= 10 ? 1 : 2; }
function trim(text, axis) { return axis ? String(Number(text)) : text; }

function formatSeconds(v, axis) {
  if (v === null || v === undefined) return '–';
  if (v === 0 && axis) return '0';
  return v < 1 ? `${trim((v * 1000).toFixed(digits(v * 1000)), axis)} ms` : `${trim(v.toFixed(digits(v)), axis)} s`;
}
function formatBytes(v, axis) {
  if (v === null || v === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; v >= 1024 && unit < units.length - 1; ++unit) v /= 1024;
  if (v === 0) return '0';
  return `${trim(v.toFixed(unit === 0 ? 0 : digits(v)), axis)} ${units[unit]}`;
}
function formatNumber(v, axis) {
  if (v === null || v === undefined) return '–';
  if (v === 0) return '0';
  if (v >= 10000) return `${trim((v / 1000).toFixed(1), axis)} k`;
  return trim(v.toFixed(Number.isInteger(v) ? 0 : v >= 100 ? 0 : v >= 10 ? 1 : 2), axis);
}
const formatPercent = (v, axis) => (v === null ? '–' : `${(v * 100).toFixed(axis || v >= 0.1 ? 0 : 1)}%`);
function formatAge(s) {
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 129600 ? `${(s / 3600).toFixed(1)} h` : `${Math.round(s / 86400)} days`;
}

// ---- backends: each keeps its colour ----

const backendName = (key) => (key === 'none' || key === undefined ? 'not attributed' : key);
function colorOf(key) {
  if (key === 'none' || key === 'other' || key === undefined) return 'cn';
  if (!state.colors.has(key)) state.colors.set(key, `c${state.colors.size % 8}`);
  return state.colors.get(key);
}
// Backends that the server offers or has served; "none" only where it holds something.
function backends() {
  const last = state.history.last();
  const seen = last ? [...last.latency.keys(), ...last.running.keys(), ...last.tokens.keys()] : [];
  for (const key of seen.sort()) if (key !== 'none' && key !== 'other') colorOf(key);
  return [...state.colors.keys()];
}
const shownBackends = () => backends().filter((key) => !state.hidden.has(key));

// ---- history to series ----

const windowSeconds = () => Number($('window').value);

function quantileSeries(field, keys) {
  const {scrapes} = state.history;
  const result = keys.map(() => QUANTILES.map(() => []));
  scrapes.forEach((scrape, i) => {
    const before = state.history.before(i, windowSeconds());
    keys.forEach((key, k) => {
      const q = before ? quantiles(scrape[field].get(key), before[field].get(key), QUANTILES.map((x) => x[1])).values : [null, null, null];
      q.forEach((value, n) => result[k][n].push(value));
    });
  });
  return result;
}

function rateAt(i, field, key) {
  const before = state.history.before(i, windowSeconds());
  if (!before) return null;
  const now = state.history.scrapes[i];
  return (now[field].get(key) - before[field].get(key)) / (now.time - before.time);
}
const rateNow = (field, key) => rateAt(state.history.scrapes.length - 1, field, key);
function rateSum(field) {
  const rates = state.history.last()[field].keys().map((key) => rateNow(field, key));
  return rates.includes(null) ? null : rates.reduce((a, b) => a + b, 0);
}
// Quantiles of the current window over one key, or over all of them.
function quantilesNow(field, keys, qs) {
  const i = state.history.scrapes.length - 1;
  const before = i >= 0 && state.history.before(i, windowSeconds());
  if (!before) return {count: 0, values: qs.map(() => null)};
  const merge = (scrape) => {
    const all = new Map();
    for (const key of keys) for (const [le, n] of scrape[field].get(key)) all.set(le, (all.get(le) || 0) + n);
    return all;
  };
  return quantiles(merge(state.history.scrapes[i]), merge(before), qs);
}

// ---- charts ----

function makeCharts() {
  const idle = 'No requests in this time. Send one:\nprecis summarize FILE';
  for (const [id, title] of [['latency', 'Request latency'], ['first-token', 'Time to first token']]) {
    views[id] = QUANTILES.map(([name]) => {
      const cell = document.createElement('div');
      cell.append(Object.assign(document.createElement('h3'), {textContent: name}));
      $(id).append(cell);
      return new TimeChart(cell, {title: `${title}, ${name}`, format: formatSeconds, height: 180, empty: idle});
    });
  }
  const chart = (id, options) => { views[id] = new TimeChart($(id), options); };
  chart('tokens', {title: 'Tokens per second', format: formatNumber, stacked: true, empty: idle});
  chart('queue', {title: 'Running and waiting requests', format: formatNumber, stacked: true, least: 4});
  chart('kv-use', {title: 'KV cache use', format: formatPercent, stacked: true, max: 1});
  chart('kv', {title: 'KV cache by backend', format: formatBytes, stacked: true, binary: true, least: 1 << 20});
  chart('memory', {title: 'Memory', format: formatBytes, stacked: true, binary: true, least: 1 << 20});
  drawKey('queue-key', [['running', 'c2'], ...PRIORITIES.map((p, i) => [`waiting, ${p}`, `p${2 - i}`])]);
  drawKey('memory-key', MEMORY_KINDS.map((kind, i) => [KIND_NAMES[kind], `c${[6, 0, 3, 1][i]}`]));
}

function drawKey(id, entries) {
  $(id).replaceChildren(...entries.map(([name, color]) => {
    const entry = document.createElement('span');
    entry.className = color;
    entry.append(Object.assign(document.createElement('i'), {className: 'key'}), name);
    return entry;
  }));
}

function drawCharts() {
  const {scrapes} = state.history;
  const times = scrapes.map((s) => s.time);
  const end = times.length ? times[times.length - 1] : 0;
  // A young history fills the chart, too.
  const span = Math.min(Number($('span').value), Math.max(60, Math.ceil((end - (times[0] || 0)) / 30) * 30));
  const keys = shownBackends();
  for (const [id, field] of [['latency', 'latency'], ['first-token', 'firstToken']]) {
    const series = quantileSeries(field, keys);
    const bundles = QUANTILES.map((_, n) => keys.map((key, k) => ({name: key, color: colorOf(key), values: series[k][n]})));
    // One scale for the three, so that they compare.
    const visible = times.map((t) => t >= end - span);
    const max = Math.max(0, ...bundles.flat().flatMap((s) => s.values.filter((v, i) => v !== null && visible[i])));
    bundles.forEach((bundle, n) => views[id][n].update(times, bundle, span, end, max));
  }
  const stack = (id, entries) => views[id].update(times, entries.map(([name, color, read]) => ({name, color, values: scrapes.map(read)})), span, end);
  stack('tokens', keys.map((key) => [key, colorOf(key), (s, i) => rateAt(i, 'tokens', key)]));
  const sum = (totals) => totals.keys().reduce((a, key) => a + totals.get(key), 0);
  stack('queue', [['running', 'c2', (s) => sum(s.running)],
    ...PRIORITIES.map((p, i) => [`waiting, ${p}`, `p${2 - i}`, (s) => s.waiting.get(p)])]);
  stack('kv-use', [['in use', 'c0', (s) => s.scalars.precis_kv_cache_utilization_ratio ?? null]]);
  const unattributed = scrapes.some((s) => s.kv.get('none') > 0) ? ['none'] : [];
  stack('kv', [...keys, ...unattributed].map((key) => [backendName(key), colorOf(key), (s) => s.kv.get(key)]));
  stack('memory', MEMORY_KINDS.map((kind, i) => [KIND_NAMES[kind], `c${[6, 0, 3, 1][i]}`, (s) => s.memory.get(kind)]));
  const last = state.history.last();
  drawBars($('workspace'), keys.filter((key) => last && last.workspacePeak.get(key) > 0)
      .map((key) => ({name: key, color: colorOf(key), value: last.workspacePeak.get(key)})), formatBytes, 'No request has needed any yet');
}

// ---- tiles and tables ----

function tile(label, value, sub = '') {
  const element = document.createElement('div');
  element.className = 'tile';
  const number = Object.assign(document.createElement('div'), {className: 'value'});
  const [head, ...unit] = value.split(' ');
  number.append(head, unit.length ? Object.assign(document.createElement('small'), {textContent: ` ${unit.join(' ')}`}) : '');
  element.append(Object.assign(document.createElement('div'), {className: 'label', textContent: label}), number,
      drawSub(sub));
  return element;
}

// Breaks only between parts.
function drawSub(text) {
  const sub = Object.assign(document.createElement('div'), {className: 'sub'});
  text.split(' · ').forEach((part, i, all) => {
    sub.append(Object.assign(document.createElement('span'), {textContent: part + (i + 1 < all.length ? ' · ' : '')}), ' ');
  });
  return sub;
}

function drawTiles() {
  const last = state.history.last();
  const qs = QUANTILES.map((q) => q[1]);
  const latency = quantilesNow('latency', last.latency.keys(), qs).values;
  const first = quantilesNow('firstToken', last.firstToken.keys(), qs).values;
  const sum = (totals) => totals.keys().reduce((a, key) => a + totals.get(key), 0);
  const use = last.scalars.precis_kv_cache_utilization_ratio;
  const failed = rateSum('failed');
  const others = (v) => (v[0] === null ? 'no requests' : `p50 ${formatSeconds(v[0])} · p99 ${formatSeconds(v[2])}`);
  const perSecond = (v) => (v === null ? '–' : `${formatNumber(v)} /s`);
  $('tiles').replaceChildren(
      tile('Requests', perSecond(rateSum('requests')), failed > 0 ? `${formatNumber(failed)} /s failed` : 'none failed'),
      tile('Latency p95', formatSeconds(latency[1]), others(latency)),
      tile('First token p95', formatSeconds(first[1]), others(first)),
      tile('Tokens', perSecond(rateSum('tokens')), 'generated'),
      tile('Running', formatNumber(sum(last.running)), 'in the batch'),
      tile('Waiting', formatNumber(sum(last.waiting)), PRIORITIES.map((p) => `${p} ${last.waiting.get(p)}`).join(' · ')),
      tile('KV cache', use === undefined ? '–' : formatPercent(use).replace('%', ' %'), `${formatBytes(last.memory.get('kv'))} in use`),
      tile('Memory', formatBytes(sum(last.memory)), `weights ${formatBytes(last.memory.get('weights'))}`));
}

// rows: [[heading, color], cells...]; columns: [title, isText].
function drawTable(parent, columns, rows, empty) {
  if (!rows.length) {
    parent.replaceChildren(Object.assign(document.createElement('p'), {className: 'empty static', textContent: empty}));
    return;
  }
  const table = document.createElement('table');
  const head = table.createTHead().insertRow();
  for (const [title, text] of columns) {
    head.append(Object.assign(document.createElement('th'), {textContent: title, scope: 'col', className: text ? 'text' : ''}));
  }
  const body = table.createTBody();
  for (const [[name, color], ...cells] of rows) {
    const row = body.insertRow();
    const heading = Object.assign(document.createElement('th'), {scope: 'row', className: color || ''});
    heading.append(...(color ? [Object.assign(document.createElement('i'), {className: 'key'})] : []), name);
    row.append(heading);
    cells.forEach((cell, i) => {
      row.append(Object.assign(document.createElement('td'), {textContent: cell, className: columns[i + 1][1] ? 'text' : ''}));
    });
  }
  parent.replaceChildren(table);
}

function measured(latency, first, key) {
  const a = quantilesNow(latency, [key], [0.5, 0.95, 0.99]).values;
  const b = quantilesNow(first, [key], [0.5, 0.95]).values;
  return [...a, ...b].map((v) => formatSeconds(v));
}

function drawTables() {
  const rate = (field, key) => formatNumber(rateNow(field, key));
  const latencyColumns = [['Latency p50'], ['p95'], ['p99'], ['First token p50'], ['p95']];
  $('backends-note').textContent = $('arms-note').textContent = `Over the last ${windowSeconds()} s`;
  drawTable($('backends'), [['Backend'], ['Requests/s'], ['Failed/s'], ...latencyColumns, ['Between tokens p50'], ['Tokens/s'], ['Memory p95']],
      shownBackends().map((key) => [[key, colorOf(key)], rate('requests', key), rate('failed', key), ...measured('latency', 'firstToken', key),
        formatSeconds(quantilesNow('interToken', [key], [0.5]).values[0]), rate('tokens', key), formatBytes(quantilesNow('peakMemory', [key], [0.95]).values[0])]),
      'No backend has served a request yet');
  drawArms(rate, latencyColumns);
}

function drawArms(rate, latencyColumns) {
  const arms = new Map();
  for (const experiment of state.facts.experiments || []) {
    for (const arm of experiment.arms || []) arms.set(`${experiment.name}\n${arm.name}`, arm);
  }
  for (const key of [...state.history.last().armLatency.keys(), ...state.history.last().armRequests.keys()]) if (!arms.has(key)) arms.set(key, {});
  drawTable($('arms'), [['Experiment and arm'], ['Backend', true], ['Weight'], ['Requests/s'], ['Failed/s'], ...latencyColumns, ['Tokens/s']],
      [...arms].map(([key, arm]) => [[key.replace('\n', ' / '), arm.attention_backend ? colorOf(arm.attention_backend) : ''], arm.attention_backend || '–',
        arm.weight === undefined ? '–' : formatNumber(Number(arm.weight)), rate('armRequests', key), rate('armFailed', key),
        ...measured('armLatency', 'armFirstToken', key), rate('armTokens', key)]),
      'No experiment is configured');
}

function formatCount(v) {
  return v >= 1e9 ? `${(v / 1e9).toFixed(2)} B` : v >= 1e6 ? `${(v / 1e6).toFixed(1)} M` : v.toLocaleString('en');
}

function drawModels() {
  const rows = (state.facts.models || []).map((m) => [[m.name || '–'], m.checkpoint || '–', (m.attention_backends || []).join(', ') || '–',
    m.weights || '–', formatCount(Number(m.parameters || 0)), formatBytes(Number(m.weights_bytes || 0)),
    `${Number(m.context_tokens || 0).toLocaleString('en')} tokens`]);
  drawTable($('models'), [['Model'], ['Checkpoint', true], ['Backends', true], ['Weights', true], ['Parameters'], ['In memory'], ['Context']], rows,
      'The server reports no model');
  drawOptions();
}

// The settings that the server runs with; empty ones are left out.
function drawOptions() {
  const entries = Object.entries(state.facts.options || {}).filter(([, value]) => String(value) !== '');
  $('options').replaceChildren(...entries.map(([name, value]) => {
    const pair = document.createElement('div');
    pair.append(Object.assign(document.createElement('dt'), {textContent: name}),
        Object.assign(document.createElement('dd'), {textContent: Array.isArray(value) ? value.join(', ') : value}));
    return pair;
  }));
  $('options-card').hidden = !entries.length;
}

function drawLegend() {
  const wanted = backends();
  if ($('legend').childElementCount === wanted.length && wanted.length) return;
  $('legend').replaceChildren(...wanted.map((key) => {
    const button = Object.assign(document.createElement('button'), {type: 'button', className: colorOf(key)});
    button.setAttribute('aria-pressed', 'true');
    button.append(Object.assign(document.createElement('i'), {className: 'key'}), key);
    button.addEventListener('click', () => {
      const shown = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', shown);
      state.hidden[shown ? 'delete' : 'add'](key);
      draw();
    });
    return button;
  }));
  if (!wanted.length) $('legend').append(Object.assign(document.createElement('span'), {className: 'note', textContent: 'No attention backend has been seen yet'}));
}

function drawState() {
  const last = state.history.last();
  const {precis_ready: ready, precis_draining: draining} = last ? last.scalars : {};
  const [text, tone] = state.failures > 1 ? ['unreachable', 'bad'] : !last ? ['connecting', ''] :
    draining ? ['draining', ''] : ready ? ['ready', 'good'] : ['starting', ''];
  if ($('state').textContent !== text) $('state').textContent = text;
  $('state').className = `pill ${tone}`;
  document.title = `Precis: ${text}`;
  const f = state.facts;
  // By the server's clock, which may differ from the browser's.
  const up = f.uptime_seconds === undefined ? '' : `up ${formatAge(Number(f.uptime_seconds) + performance.now() / 1000 - state.factsAt)}`;
  const generation = last && last.scalars.precis_config_generation ? `config ${last.scalars.precis_config_generation}` : '';
  $('facts').textContent = [f.version && `version ${f.version}`, f.commit, last && last.scalars.isa, up, generation].filter(Boolean).join(' · ');
  document.body.classList.toggle('stale', state.failures > 1);
  $('alert').hidden = state.failures <= 1;
  if (state.failures > 1) $('alert').textContent = 'The server does not answer; trying again every second or two. What is shown is its last state.';
}

function draw() {
  drawState();
  drawLegend();
  drawModels();
  if (!state.history.last()) return;
  drawTiles();
  drawCharts();
  drawTables();
}

// ---- polling ----

async function get(path) {
  const response = await fetch(path, {cache: 'no-store', signal: AbortSignal.timeout(5000)});
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

async function poll() {
  try {
    const text = await (await get('/metrics')).text();
    if (state.failures || ++state.polls % 20 === 0) await loadFacts();
    state.failures = 0;
    state.history.push(reduceScrape(parseExposition(text), Date.now() / 1000));
  } catch (error) {
    ++state.failures;
    // A fetch that fails is the server's state and shown; anything else is a fault of the page.
    if (!(error instanceof TypeError && /fetch/.test(error.message)) && error.name !== 'TimeoutError') console.error(error);
  }
  if (!state.paused || state.failures) draw();
  setTimeout(poll, POLL_MS);
}

async function loadFacts() {
  state.facts = await (await get('/status.json')).json().catch(() => ({}));
  state.factsAt = performance.now() / 1000;
  for (const model of state.facts.models || []) (model.attention_backends || []).forEach(colorOf);
}

$('pause').addEventListener('click', () => {
  state.paused = !state.paused;
  $('pause').setAttribute('aria-pressed', state.paused);
  $('pause').textContent = state.paused ? 'Resume' : 'Pause';
  if (!state.paused) draw();
});
for (const id of ['span', 'window']) $(id).addEventListener('change', draw);

makeCharts();
loadFacts().catch(() => {}).finally(poll);
