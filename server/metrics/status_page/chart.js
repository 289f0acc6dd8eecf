'use strict';
// Line, stacked-area and bar charts in SVG. Colours come from classes (c0, c1, ...), so that the theme may change.

const SVG = 'http://www.w3.org/2000/svg';

function make(parent, tag, attributes = {}, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// A round step that cuts `max` into about four parts; bytes by powers of two.
function niceStep(max, binary) {
  const raw = max / 4;
  if (binary) return 2 ** Math.ceil(Math.log2(raw));
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999);
}

const charts = [];
let cursorTime = null;  // the same moment is marked in every chart

function setCursor(time) {
  cursorTime = time;
  for (const chart of charts) chart.drawCursor();
}

// options: {title, format, stacked, binary, max, least, height, empty}
class TimeChart {
  constructor(parent, options) {
    this.options = options;
    this.times = [];
    this.series = [];
    this.figure = document.createElement('div');
    this.figure.className = 'chart';
    this.figure.tabIndex = 0;
    this.figure.setAttribute('role', 'group');
    this.svg = make(this.figure, 'svg', {'aria-hidden': 'true'});
    this.tip = document.createElement('div');
    this.tip.className = 'tip';
    this.tip.hidden = true;
    this.note = document.createElement('p');
    this.note.className = 'empty';
    this.spoken = document.createElement('p');
    this.spoken.className = 'spoken';
    this.spoken.setAttribute('aria-live', 'polite');
    this.figure.append(this.tip, this.note, this.spoken);
    parent.append(this.figure);
    this.listen();
    charts.push(this);
    new ResizeObserver(() => this.draw()).observe(this.figure);
  }

  listen() {
    const move = (event) => {
      this.hovered = true;
      const box = this.svg.getBoundingClientRect();
      setCursor(this.timeAt(event.clientX - box.left));
    };
    const leave = () => { this.hovered = false; setCursor(null); };
    this.figure.addEventListener('pointermove', move);
    this.figure.addEventListener('pointerdown', move);
    this.figure.addEventListener('pointerleave', leave);
    this.figure.addEventListener('blur', leave);
    this.figure.addEventListener('keydown', (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.key === 'Escape') { this.hovered = false; this.spoken.textContent = ''; setCursor(null); return; }
    const step = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity}[event.key];
    if (!step || !this.times.length) return;
    event.preventDefault();
    const from = cursorTime === null ? this.times.length - (step < 0 ? 0 : 1) : this.indexOf(cursorTime);
    const index = Math.max(0, Math.min(this.times.length - 1, from + step));
    this.hovered = true;
    setCursor(this.times[index]);
    this.spoken.textContent = this.describe(index);
  }

  // series: [{name, color, values}] along times (seconds); span: how much of the past is shown.
  update(times, series, span, end, sharedMax) {
    Object.assign(this, {times, series, span, end, sharedMax});
    const last = times.length - 1;
    this.figure.setAttribute('aria-label', this.options.title + '. ' + (last >= 0 ? this.describe(last) : 'No data yet.') +
        ' Arrow keys move through time.');
    this.draw();
  }

  describe(index) {
    const parts = this.series.filter((s) => s.values[index] !== null)
        .map((s) => s.name + ' ' + this.options.format(s.values[index]));
    const ago = Math.round(this.end - this.times[index]);
    return (ago < 1 ? 'now: ' : ago + ' s ago: ') + (parts.join(', ') || 'no data');
  }

  largest() {
    let max = 0;
    this.times.forEach((time, i) => {
      if (time < this.end - this.span) return;
      const values = this.series.map((s) => s.values[i] || 0);
      max = Math.max(max, this.options.stacked ? values.reduce((a, b) => a + b, 0) : Math.max(0, ...values));
    });
    return max;
  }

  draw() {
    const width = this.figure.clientWidth;
    if (!width || !this.times) return;
    const height = this.options.height || 170;
    this.frame = {left: 58, top: 8, width: Math.max(10, width - 58 - 12), height: height - 8 - 22};
    this.svg.setAttribute('width', width);
    this.svg.setAttribute('height', height);
    this.svg.replaceChildren();
    const hasData = this.series.some((s) => s.values.some((v, i) => v !== null && this.times[i] >= this.end - this.span));
    this.note.hidden = hasData;
    this.note.textContent = hasData ? '' : this.options.empty || 'No data yet';
    this.scale(Math.max(this.sharedMax || this.largest(), this.options.least || 0));
    this.drawAxes();
    if (hasData) (this.options.stacked ? this.drawStack() : this.drawLines());
    this.cursor = make(this.svg, 'g', {class: 'cursor'});
    this.drawCursor();
  }

  scale(max) {
    this.step = this.options.max ? this.options.max / 4 : niceStep(max || 1, this.options.binary);
    this.max = this.options.max || Math.max(this.step, Math.ceil(max * 1.02 / this.step) * this.step);
  }
  x(time) { return this.frame.left + this.frame.width * (1 - (this.end - time) / this.span); }
  y(value) { return this.frame.top + this.frame.height * (1 - Math.min(value, this.max) / this.max); }
  timeAt(x) {
    const time = this.end - this.span * (1 - (x - this.frame.left) / this.frame.width);
    return this.times.length ? this.times[this.indexOf(time)] : null;
  }
  indexOf(time) {
    let best = 0;
    this.times.forEach((t, i) => { if (Math.abs(t - time) < Math.abs(this.times[best] - time)) best = i; });
    return best;
  }

  drawAxes() {
    const {left, top, width, height} = this.frame;
    for (let v = 0; v <= this.max * 1.001; v += this.step) {
      const y = Math.round(this.y(v)) + 0.5;
      make(this.svg, 'line', {class: v === 0 ? 'base' : 'grid', x1: left, x2: left + width, y1: y, y2: y});
      make(this.svg, 'text', {class: 'tick', x: left - 8, y: y + 4, 'text-anchor': 'end'}, this.options.format(v, true));
    }
    const every = [10, 15, 20, 30, 60, 120, 180, 300].find((step) => this.span / step <= width / 62) || 300;
    for (let ago = 0; ago <= this.span; ago += every) {
      const x = this.x(this.end - ago);
      const anchor = ago === 0 ? 'end' : x < left + 20 ? 'start' : 'middle';
      const text = ago === 0 ? 'now' : every % 60 === 0 ? `−${ago / 60} min` : `−${ago} s`;
      make(this.svg, 'text', {class: 'tick', x, y: top + height + 17, 'text-anchor': anchor}, text);
    }
  }

  visible() { return this.times.map((t, i) => i).filter((i) => this.times[i] >= this.end - this.span); }

  drawLines() {
    for (const s of this.series) {
      let path = '';
      let open = false;
      for (const i of this.visible()) {
        if (s.values[i] === null) { open = false; continue; }
        path += `${open ? 'L' : 'M'}${this.x(this.times[i]).toFixed(1)} ${this.y(s.values[i]).toFixed(1)}`;
        if (!open) path += 'h0';  // a lone point still shows
        open = true;
      }
      make(this.svg, 'path', {class: `line ${s.color}`, d: path});
    }
  }

  drawStack() {
    const shown = this.visible();
    const at = (k, value) => `${this.x(this.times[shown[k]]).toFixed(1)} ${this.y(value).toFixed(1)}`;
    const base = shown.map(() => 0);
    for (const s of this.series) {
      const under = shown.map((_, k) => at(k, base[k]));
      shown.forEach((i, k) => { base[k] += s.values[i] || 0; });
      const over = shown.map((_, k) => at(k, base[k]));
      // The edge is drawn where the layer has a height.
      const has = (k) => s.values[shown[k]] > 0;
      const edge = over.map((point, k) => ((has(k) || has(k - 1)) && k > 0 ? 'L' : 'M') + point).join('');
      make(this.svg, 'path', {class: `area ${s.color}`, d: `M${over.join('L')}L${under.reverse().join('L')}Z`});
      make(this.svg, 'path', {class: `line thin ${s.color}`, d: edge});
    }
  }

  drawCursor() {
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    this.tip.hidden = true;
    if (cursorTime === null || !this.times.length || cursorTime < this.end - this.span) return;
    const i = this.indexOf(cursorTime);
    const x = this.x(this.times[i]);
    const {top, height} = this.frame;
    make(this.cursor, 'line', {x1: x, x2: x, y1: top, y2: top + height});
    if (!this.options.stacked) {
      for (const s of this.series) {
        if (s.values[i] !== null) make(this.cursor, 'circle', {class: s.color, cx: x, cy: this.y(s.values[i]), r: 4});
      }
    }
    if (this.hovered) this.drawTip(i, x);
  }

  drawTip(i, x) {
    const ago = Math.round(this.end - this.times[i]);
    const head = document.createElement('b');
    head.textContent = ago < 1 ? 'now' : `${ago} s ago`;
    const rows = (this.options.stacked ? [...this.series].reverse() : this.series).map((s) => {
      const row = document.createElement('span');
      row.className = `row ${s.color}`;
      row.append(Object.assign(document.createElement('i'), {className: 'key'}), s.name,
          Object.assign(document.createElement('em'), {textContent: s.values[i] === null ? '–' : this.options.format(s.values[i])}));
      return row;
    });
    this.tip.replaceChildren(head, ...rows);
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth;
    const left = x + 14 + wide > this.figure.clientWidth ? x - 14 - wide : x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(left, this.figure.clientWidth - wide))}px`;
  }
}

// Horizontal bars with their values: [{name, color, value}].
function drawBars(parent, bars, format, empty) {
  parent.replaceChildren();
  if (!bars.length) {
    parent.append(Object.assign(document.createElement('p'), {className: 'empty static', textContent: empty}));
    return;
  }
  const max = Math.max(...bars.map((b) => b.value), 1);
  for (const bar of bars) {
    const row = document.createElement('div');
    row.className = `bar ${bar.color}`;
    const track = document.createElement('span');
    track.className = 'track';
    const fill = document.createElement('span');
    fill.className = 'fill';
    fill.style.width = `${100 * bar.value / max}%`;
    track.append(fill);
    row.append(Object.assign(document.createElement('span'), {className: 'name', textContent: bar.name}), track,
        Object.assign(document.createElement('span'), {className: 'value', textContent: format(bar.value)}));
    parent.append(row);
  }
}
