/** The colour bar with the histogram of the data and two handles: vertical beside the picture, flat on a phone. */
import { fitCanvas, h, n3, readNumber, token } from '../lib/h.js';
import { colorOf } from '../lib/colormap.js';

const PAD = 0.12, LEFT_MS = 2000, REDRAW_MS = 200;

/* Axes of the modes: to the axis and back. */
const symlog = (l) => [(v) => Math.sign(v) * Math.log10(1 + Math.abs(v) / l), (x) => Math.sign(x) * l * (10 ** Math.abs(x) - 1)];
const AXES = { log: () => [(v) => Math.log(Math.max(v, 1e-300)), Math.exp], symlog: (n, m) => symlog(n.linthresh || 0.01 * m || 1) };
const LINEAR = [(v) => v, (v) => v];

export class TsRange extends HTMLElement {
  /** @param {{get: () => {view: any, range: number[]}, onRange: (lo: number, hi: number) => void, onAuto: () => void}} options */
  setup(options) {
    Object.assign(this, options);
    this.className = 'cbar';
    this.setAttribute('role', 'group');
    this.setAttribute('aria-label', 'Range and histogram');
    this.logCount = true;
    this.canvas = h('canvas', { 'aria-hidden': true });
    this.foot = h('button.foot', { type: 'button', title: 'Logarithmic or linear counts', onclick: () => { this.logCount = !this.logCount; this.foot.textContent = this.logCount ? 'log count' : 'count'; this.paint(); } }, 'log count');
    this.handles = { hi: this.handle('hi', 'Upper range'), lo: this.handle('lo', 'Lower range') };
    this.append(this.canvas, this.handles.hi, this.handles.lo, this.foot);
    this.canvas.addEventListener('dblclick', () => this.onAuto());
    this.canvas.addEventListener('pointerdown', (e) => this.dragBoth(e));
    this.watch = new ResizeObserver(() => this.paint());
    return this;
  }

  connectedCallback() { this.watch.observe(this); }

  disconnectedCallback() { this.watch.disconnect(); }

  handle(k, label) {
    const text = h('span'), e = h('div.h', { role: 'slider', tabindex: 0, 'aria-label': label, 'data-k': k }, text);
    e.text = text;
    e.addEventListener('pointerdown', (ev) => {
      if (ev.target.matches('input')) return;
      ev.preventDefault();
      e.setPointerCapture(ev.pointerId);
      e.focus();
      this.held = true;
      const move = (x) => this.set(k, this.valueAt(x));
      const up = () => { e.removeEventListener('pointermove', move); e.removeEventListener('pointerup', up); e.removeEventListener('pointercancel', up); this.held = false; this.rescale(); };
      e.addEventListener('pointermove', move);
      e.addEventListener('pointerup', up);
      e.addEventListener('pointercancel', up);
    });
    e.addEventListener('keydown', (ev) => {
      const d = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[ev.key];
      if (!d || ev.target.matches('input')) return;
      ev.preventDefault();
      ev.stopPropagation();
      const [f, g] = this.axis();
      this.set(k, g(f(this.now()[k]) + d * (this.ax.hi - this.ax.lo) / 200));
    });
    e.addEventListener('dblclick', () => this.typeIn(e, k));
    return e;
  }

  typeIn(e, k) {
    const i = h('input.num', { inputmode: 'decimal', value: String(this.now()[k]), 'aria-label': 'Value' });
    const done = () => { if (!i.isConnected) return; const v = readNumber(i.value); i.replaceWith(e.text); if (!Number.isNaN(v)) this.set(k, v); this.rescale(); };
    i.addEventListener('keydown', (ev) => { ev.stopPropagation(); if (ev.key === 'Enter') done(); if (ev.key === 'Escape') i.replaceWith(e.text); });
    i.addEventListener('blur', done);
    e.text.replaceWith(i);
    i.select();
  }

  /* Between the handles: move both. */
  dragBoth(e) {
    const v = this.valueAt(e), { lo, hi } = this.now(), [f, g] = this.axis();
    if (!(v > lo && v < hi)) return;
    const at = f(v), a = f(lo), b = f(hi);
    this.canvas.setPointerCapture(e.pointerId);
    let moved = false;
    const move = (x) => { const d = f(this.valueAt(x)) - at; if (!moved && Math.abs(d) < (this.ax.hi - this.ax.lo) / 100) return; moved = this.held = true; this.onRange(g(a + d), g(b + d)); };
    const up = () => { this.canvas.removeEventListener('pointermove', move); this.canvas.removeEventListener('pointerup', up); if (moved) { this.held = false; this.rescale(); } };
    this.canvas.addEventListener('pointermove', move);
    this.canvas.addEventListener('pointerup', up);
  }

  now() {
    const { view, range } = this.get(), n = view.normalize || {};
    const pick = (v, r) => (typeof v === 'number' ? v : typeof r === 'number' ? r : undefined);
    return { lo: pick(n.lo, range?.[0]) ?? 0, hi: pick(n.hi, range?.[1]) ?? 1, mode: n.mode || 'minmax', normalize: n };
  }

  axis() { const { mode, normalize, lo, hi } = this.now(); return AXES[mode]?.(normalize, Math.max(Math.abs(lo), Math.abs(hi))) || LINEAR; }

  flat() { return this.clientWidth > this.clientHeight; }

  valueAt(e) {
    const r = this.getBoundingClientRect(), [, g] = this.axis();
    const f = this.flat() ? (e.clientX - r.left - 16) / (r.width - 32) : 1 - (e.clientY - r.top - 24) / (r.height - 64);
    return g(this.ax.lo + Math.min(1, Math.max(0, f)) * (this.ax.hi - this.ax.lo));
  }

  set(k, v) {
    const { lo, hi, mode } = this.now(), eps = Math.abs(hi - lo) * 1e-6 || 1e-9;
    const digits = (x) => parseFloat(x.toPrecision(6));
    v = digits(v);
    if (mode === 'symmetric') { const m = Math.max(eps, Math.abs(v)); return this.onRange(-m, m); }
    if (k === 'lo') this.onRange(Math.min(v, hi - eps), hi);
    else this.onRange(lo, Math.max(v, lo + eps));
  }

  /** New statistics: {min, max, histogram}. */
  data(stats) {
    this.stats = stats;
    this.soon();
  }

  /** New range or view. */
  update() { this.soon(); }

  soon() {
    if (this.held) return this.paint();
    if (this.timer) return;
    const wait = Math.max(0, REDRAW_MS - (performance.now() - (this.painted || 0)));
    this.timer = setTimeout(() => { this.timer = 0; this.paint(); }, wait);
  }

  /** The value under the pointer. */
  mark(v) { this.marked = v; this.paint(); }

  span() {
    const { lo, hi, mode } = this.now(), [f] = this.axis(), s = this.stats, all = [lo, hi];
    if (s && typeof s.min === 'number' && typeof s.max === 'number') all.push(mode === 'log' ? Math.max(s.min, lo) : s.min, s.max);
    const a = Math.min(...all.map(f)), b = Math.max(...all.map(f)), pad = (b - a) * PAD || Math.abs(a) * PAD || 0.5;
    return { lo: a - pad, hi: b + pad };
  }

  rescale() { this.ax = this.span(); this.axMode = this.now().mode; this.paint(); }

  /* The axis moves only when the data have left it for a while, never under a hand. */
  keepAxis() {
    if (!this.ax || this.axMode !== this.now().mode) { this.ax = this.span(); this.axMode = this.now().mode; return; }
    if (this.held) return;
    const s = this.span(), w = this.ax.hi - this.ax.lo, fits = s.lo >= this.ax.lo - w * PAD && s.hi <= this.ax.hi + w * PAD && s.hi - s.lo > w * 0.35;
    if (fits) { this.leftAt = 0; return; }
    this.leftAt ||= performance.now();
    if (performance.now() - this.leftAt > LEFT_MS || !this.stats?.seen) { this.ax = s; this.leftAt = 0; if (this.stats) this.stats.seen = true; }
  }

  paint() {
    if (!this.isConnected || !this.clientWidth) return;
    this.painted = performance.now();
    this.keepAxis();
    const { view } = this.get(), { lo, hi } = this.now(), [f] = this.axis(), ax = this.ax, flat = this.flat();
    const [g, W, H] = fitCanvas(this.canvas), start = flat ? 16 : 24, len = flat ? W - 32 : H - 64, colour = colorOf(view.colormap ?? 'viridis'), gamma = view.tone?.gamma ?? 1, invert = view.tone?.invert;
    const pos = (a) => { const t = (a - ax.lo) / (ax.hi - ax.lo); return flat ? start + t * len : start + (1 - t) * len; };
    const tone = (a) => { let t = (a - f(lo)) / (f(hi) - f(lo) || 1); if (t > 0) t **= gamma; return invert ? 1 - t : t; };
    this.bars(g, { f, lo, hi, pos, tone, colour, flat });
    for (let i = 0; i < len; i++) {
      g.fillStyle = colour(tone(ax.lo + (flat ? i / len : 1 - i / len) * (ax.hi - ax.lo)));
      if (flat) g.fillRect(start + i, 68, 1.5, 14);
      else g.fillRect(22, start + i, 18, 1.5);
    }
    if (typeof this.marked === 'number' && Number.isFinite(this.marked)) this.triangle(g, pos(Math.max(ax.lo, Math.min(ax.hi, f(this.marked)))), flat);
    for (const [k, v] of [['hi', hi], ['lo', lo]]) {
      const e = this.handles[k], t = n3(v), p = Math.max(start - 8, Math.min(start + len + 8, pos(f(v))));
      if (e.text.textContent !== t) e.text.textContent = t;
      e.setAttribute('aria-valuenow', String(v));
      e.setAttribute('aria-valuetext', t);
      e.setAttribute('aria-orientation', flat ? 'horizontal' : 'vertical');
      e.style.left = flat ? `${p}px` : '';
      e.style.top = flat ? '' : `${p}px`;
    }
  }

  bars(g, { f, lo, hi, pos, tone, colour, flat }) {
    const s = this.stats, counts = s?.histogram?.counts || s?.histogram;
    if (!counts?.length || !(s.max > s.min)) return;
    const n = counts.length, size = (c) => (this.logCount ? Math.log1p(c) : c), most = Math.max(...counts.map(size)) || 1, gray = token('--line-2');
    for (let i = 0; i < n; i++) {
      if (!counts[i]) continue;
      const a = s.min + (i / n) * (s.max - s.min), b = s.min + ((i + 1) / n) * (s.max - s.min), mid = (a + b) / 2, inside = mid >= lo && mid <= hi;
      const p = pos(f(a)), q = pos(f(b)), long = Math.max(1, size(counts[i]) / most * (flat ? 34 : 54));
      g.fillStyle = inside ? colour(tone(f(mid))) : gray;
      g.globalAlpha = inside ? 0.9 : 0.7;
      if (flat) g.fillRect(p, 66 - long, Math.max(1, q - p - 1), long);
      else g.fillRect(46, q, long, Math.max(1, p - q - 1));
    }
    g.globalAlpha = 1;
  }

  triangle(g, p, flat) {
    g.fillStyle = token('--fg');
    g.beginPath();
    for (const [a, b] of flat ? [[p, 83], [p - 4, 90], [p + 4, 90]] : [[21, p], [13, p - 4.5], [13, p + 4.5]]) g.lineTo(a, b);
    g.fill();
  }
}

customElements.define('ts-range', TsRange);
