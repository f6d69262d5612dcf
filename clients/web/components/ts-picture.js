/** The picture of the focus view: zoom, pan, probe, region. The server renders what the viewport shows. */
import { btn, g3, h, fitCanvas, token } from '../lib/h.js';
import { link } from '../lib/store.js';

const PROBE_MS = 33, LONG_PRESS_MS = 450, ZOOM_MAX = 256;
const WHOLE = { x: 0, y: 0, w: 1 }; /* a part of the source: left, top and side as fractions */

export class TsPicture extends HTMLElement {
  /** @param {{stream: string, model: any, onFrame: Function, onValue: Function, onRegion: Function}} options */
  setup(options) {
    Object.assign(this, options);
    this.className = 'pane';
    this.tabIndex = 0;
    this.setAttribute('role', 'application');
    this.setAttribute('aria-label', 'Picture: wheel zooms, drag pans, pointer probes, Ctrl and arrows move the probe');
    this.want = { ...WHOLE };
    this.shown = { ...WHOLE };
    this.sent = [];
    this.canvas = h('canvas.img', { role: 'img', 'aria-label': `${this.stream}, live picture` });
    this.clip = h('div.clip', {}, this.canvas);
    this.over = h('canvas.over', { 'aria-hidden': true });
    this.tip = h('div.probe', { hidden: true });
    this.spoken = h('span.sr', { 'aria-live': 'polite' });
    this.zoomText = h('span.z', { text: '100 %' });
    this.veil = h('div.offline.big', { hidden: true });
    this.append(this.clip, this.over, this.tip, this.spoken, this.veil, h('div.hud.zoom', { role: 'toolbar', 'aria-label': 'Zoom' },
      btn('minus', 'Zoom out', { key: '−', on: () => this.zoomBy(1 / 1.5) }), this.zoomText, btn('plus', 'Zoom in', { key: '+', on: () => this.zoomBy(1.5) }), btn('box', 'Fit', { key: '0', on: () => this.fit() })));
    this.pointers = new Map();
    for (const k of ['wheel', 'pointerdown', 'pointermove', 'pointerup', 'pointercancel', 'pointerleave', 'dblclick', 'keydown'])
      this.addEventListener(k, (e) => this[`on_${k}`](e), { passive: false });
    this.watch = new ResizeObserver(() => this.place());
    return this;
  }

  connectedCallback() {
    if (this.view) return;
    this.watch.observe(this);
    this.view = link.show(this.stream, this.canvas, { options: { scale: 1, max_fps: 60 }, onFrame: (m) => this.frame(m) });
  }

  disconnectedCallback() {
    this.watch.disconnect();
    this.view?.close();
    clearTimeout(this.press);
  }

  /* ---- frames and geometry ---- */
  frame(m) {
    const first = !this.header, header = m.header;
    const resized = first || header.width !== this.header.width || header.height !== this.header.height;
    this.header = header;
    this.settle(header);
    if (resized || first) this.style.setProperty('--par', Math.min(2, Math.max(0.75, header.width / header.height)).toFixed(3));
    this.place();
    if (this.pinned) this.probePinned();
    else if (this.cursor) this.ask(this.cursor);
    this.onFrame(m);
  }

  /* A frame shows the newest viewport that the server had answered before it. */
  settle(header) {
    for (let i = this.sent.length - 1; i >= 0; i--) {
      const s = this.sent[i];
      if (!s.answered || (s.rev !== undefined && header.config_rev !== undefined && header.config_rev < s.rev)) continue;
      this.shown = s.region;
      this.sent.splice(0, i + 1);
      return;
    }
  }

  /** Size of the whole source in its own pixels. */
  source() {
    const v = this.model.view, head = this.header || { width: 1, height: 1 }, shape = this.model.shape, size = v.resize || {};
    const kind = this.model.kind();
    if (shape && kind === 'heatmap' && shape.length >= 2) return [shape.at(-1), shape.slice(0, -1).reduce((a, b) => a * b, 1)];
    if (shape && ['slice', 'project'].includes(kind) && shape.length === 3) { const rest = shape.filter((_, i) => i !== ((v.axis ?? 0) + 3) % 3); return [rest[1], rest[0]]; }
    if (size.scale) return [head.width / size.scale, head.height / size.scale];
    return [head.width, head.height];
  }

  box() {
    const W = this.clientWidth, H = this.clientHeight, pad = innerWidth < 640 ? 0 : 24, head = this.header || { width: 3, height: 2 };
    const k = Math.min((W - 2 * pad) / head.width, (H - 2 * pad) / head.height), w = head.width * k, hh = head.height * k;
    return { x: (W - w) / 2, y: (H - hh) / 2, w, h: hh };
  }

  place() {
    if (!this.header) return;
    const b = this.box(), { want, shown } = this, k = shown.w / want.w;
    const px = (e, o) => { for (const p in o) e.style[p] = `${o[p]}px`; };
    px(this.clip, { left: b.x, top: b.y, width: b.w, height: b.h });
    px(this.canvas, { left: (shown.x - want.x) / want.w * b.w, top: (shown.y - want.y) / want.w * b.h, width: b.w * k, height: b.h * k });
    this.canvas.classList.toggle('pix', b.w * k >= this.header.width * 1.5);
    this.zoomText.textContent = `${Math.round(100 / want.w)} %`;
    this.draw();
  }

  /** A point of the pane as fractions of the source. */
  at(px, py) {
    const b = this.box();
    return [this.want.x + (px - b.x) / b.w * this.want.w, this.want.y + (py - b.y) / b.h * this.want.w];
  }

  /** Fractions of the source as a pixel of the frame that is shown. */
  framePixel([fx, fy]) {
    return [(fx - this.shown.x) / this.shown.w * this.header.width, (fy - this.shown.y) / this.shown.w * this.header.height];
  }

  local(e) { const r = this.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; }

  /* ---- viewport ---- */
  setRegion(x, y, w) {
    w = Math.min(1, Math.max(1 / ZOOM_MAX, w));
    const inside = (v) => Math.min(1 - w, Math.max(0, v));
    this.want = { x: inside(x), y: inside(y), w };
    this.place();
    cancelAnimationFrame(this.raf);
    this.raf = requestAnimationFrame(() => this.send());
    this.onRegionChange?.(this.want);
  }

  async send() {
    const { x, y, w } = this.want, [sw, sh] = this.source();
    const entry = { region: { ...this.want }, answered: false };
    this.sent.push(entry);
    const viewport = w >= 1 ? null : { cx: (x + w / 2) * sw, cy: (y + w / 2) * sh, zoom: 1 / w, x: null, y: null, w: null, h: null };
    const reply = await this.model.sendView({ viewport }).catch(() => null);
    if (!reply) { this.sent = this.sent.filter((s) => s !== entry); return; }
    entry.answered = true;
    entry.rev = reply.config_rev;
  }

  zoomBy(f, px = this.clientWidth / 2, py = this.clientHeight / 2) {
    const [fx, fy] = this.at(px, py), w = Math.min(1, Math.max(1 / ZOOM_MAX, this.want.w / f)), k = w / this.want.w;
    this.setRegion(fx - (fx - this.want.x) * k, fy - (fy - this.want.y) * k, w);
  }

  fit() { this.setRegion(0, 0, 1); }

  /* ---- pointers ---- */
  on_wheel(e) {
    e.preventDefault();
    if (e.altKey) return this.onSlice?.(Math.sign(e.deltaY));
    if (this.onOrbitWheel?.(e)) return;
    this.zoomBy(Math.exp(-Math.max(-400, Math.min(400, e.deltaY)) * 0.0016), ...this.local(e));
  }

  on_pointerdown(e) {
    if (e.target.closest('.hud, .offline') || e.button) return;
    const p = this.local(e);
    this.pointers.set(e.pointerId, p);
    try { this.setPointerCapture(e.pointerId); } catch { /* the pointer is gone already */ }
    this.focus({ preventScroll: true });
    this.moved = false;
    if (e.altKey) return this.pinProbe(p);
    this.mode = this.onDrag && !e.shiftKey ? 'own' : e.shiftKey && !this.onDrag ? 'region' : 'pan';
    this.start = p;
    if (e.pointerType === 'touch') {
      this.press = setTimeout(() => { this.mode = 'probe'; this.ask(p); }, LONG_PRESS_MS);
      if (this.pointers.size === 2) { clearTimeout(this.press); this.mode = 'pinch'; this.spread = this.gap(); }
    }
  }

  gap() {
    const [a, b] = [...this.pointers.values()];
    return { d: Math.hypot(a[0] - b[0], a[1] - b[1]), x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2 };
  }

  on_pointermove(e) {
    if (e.target.closest('.hud')) return this.leave();
    const p = this.local(e), was = this.pointers.get(e.pointerId);
    if (was) {
      const dx = p[0] - was[0], dy = p[1] - was[1];
      if (Math.hypot(p[0] - this.start[0], p[1] - this.start[1]) > 4) { this.moved = true; clearTimeout(this.press); }
      this.pointers.set(e.pointerId, p);
      if (this.mode === 'pinch' && this.pointers.size === 2) {
        const g = this.gap();
        this.zoomBy(g.d / this.spread.d, g.x, g.y);
        this.spread = g;
        return;
      }
      if (this.mode === 'own') return this.onDrag(dx, dy, e);
      if (this.mode === 'region') { this.rubber = [this.start, p]; return this.draw(); }
      if (this.mode === 'pan' && this.want.w < 1) {
        const b = this.box();
        this.setRegion(this.want.x - dx / b.w * this.want.w, this.want.y - dy / b.h * this.want.w, this.want.w);
      }
    }
    if (e.pointerType === 'mouse' || this.mode === 'probe') this.ask(p);
  }

  on_pointerup(e) {
    clearTimeout(this.press);
    if (this.mode === 'pinch' && !this.moved && this.pointers.size === 2) this.fit();
    if (this.mode === 'region' && this.rubber) this.region(...this.rubber);
    this.pointers.delete(e.pointerId);
    this.mode = this.pointers.size ? this.mode : '';
    this.rubber = null;
  }

  on_pointercancel(e) { this.on_pointerup(e); }

  on_pointerleave() { if (!this.pointers.size) this.leave(); }

  on_dblclick(e) { if (!e.target.closest('.hud')) this.fit(); }

  on_keydown(e) {
    const d = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (!d || !(e.ctrlKey || e.metaKey) || !this.header) return;
    e.preventDefault();
    e.stopPropagation();
    const b = this.box(), [sw, sh] = this.source(), k = [b.w / (sw * this.want.w), b.h / (sh * this.want.w)];
    const from = this.cursor || [b.x + b.w / 2, b.y + b.h / 2];
    this.speak = true;
    this.ask([Math.min(b.x + b.w - 1, Math.max(b.x, from[0] + d[0] * k[0])), Math.min(b.y + b.h - 1, Math.max(b.y, from[1] + d[1] * k[1]))]);
  }

  leave() {
    this.cursor = null;
    if (this.pinned) return;
    this.tip.hidden = true;
    this.onValue(undefined);
    this.draw();
  }

  /* ---- probe ---- */
  ask(p) {
    this.cursor = p;
    this.draw();
    if (this.probing || !this.header) { this.again = true; return; }
    const wait = PROBE_MS - (performance.now() - (this.probed || 0));
    if (wait > 0) { clearTimeout(this.later); this.later = setTimeout(() => this.cursor && this.ask(this.cursor), wait); return; }
    const f = this.at(...p), [x, y] = this.framePixel(f);
    if (x < 0 || y < 0 || x >= this.header.width || y >= this.header.height) { this.tip.hidden = true; this.onValue(undefined); return; }
    this.probing = true;
    this.probed = performance.now();
    link.request(this.stream, { type: 'probe', x: Math.floor(x), y: Math.floor(y) })
      .then((r) => this.answer(r, p), () => { this.tip.hidden = true; })
      .finally(() => { this.probing = false; if (this.again) { this.again = false; if (this.cursor) this.ask(this.cursor); } });
  }

  answer(r, p) {
    if (!this.cursor && !this.pinned) return;
    if (!r.index) { this.tip.hidden = true; this.onValue(undefined); return; }
    this.last = r;
    const words = { nan: 'NaN', posinf: '∞', '+inf': '∞', inf: '∞', neginf: '−∞', '-inf': '−∞' };
    const values = [].concat(r.value).map((x) => x ?? words[r.class] ?? 'NaN'), v = values.length === 1 ? values[0] : undefined;
    const sw = h('i');
    if (r.rgb) sw.style.background = `rgb(${r.rgb.map(Number).join(',')})`;
    const text = values.map((x) => (typeof x === 'number' ? g3(x) : String(x).replace('-', '−'))).join(', ');
    this.tip.replaceChildren(h('b', {}, sw, text), h('span.dim', { text: `${this.model.stream.source?.panels ? `panel ${r.panel}, ` : ''}[${r.index.join(', ')}]` }), this.pinned ? this.spark() : '');
    this.tip.title = values.map((x) => (typeof x === 'number' ? x.toPrecision(6) : x)).join(', ');
    this.tip.hidden = false;
    const up = this.mode === 'probe' ? -70 : 16;
    this.tip.style.left = `${Math.max(4, Math.min(this.clientWidth - this.tip.offsetWidth - 4, p[0] + 16))}px`;
    this.tip.style.top = `${Math.max(4, Math.min(this.clientHeight - this.tip.offsetHeight - 4, p[1] + up))}px`;
    this.onValue(typeof v === 'number' ? v : undefined);
    if (this.speak && performance.now() - (this.said || 0) > 1000) { this.said = performance.now(); this.spoken.textContent = `${text} at ${r.index.join(', ')}`; }
  }

  pinProbe(p) {
    if (this.pinned) { this.pinned = null; return; }
    this.pinned = { f: this.at(...p), p, trace: [] };
    this.ask(p);
  }

  async probePinned() {
    if (this.probing) return;
    this.probing = true;
    const [x, y] = this.framePixel(this.pinned.f);
    const r = await link.request(this.stream, { type: 'probe', x: Math.floor(x), y: Math.floor(y) }).catch(() => null);
    this.probing = false;
    if (!r || !this.pinned) return;
    if (typeof r.value === 'number') this.pinned.trace.push(r.value);
    this.pinned.trace.splice(0, this.pinned.trace.length - 160);
    this.answer(r, this.pinned.p);
  }

  spark() {
    const c = h('canvas', { width: 160, height: 32 }), t = this.pinned.trace, g = c.getContext('2d'), lo = Math.min(...t), hi = Math.max(...t);
    g.strokeStyle = token('--accent');
    g.beginPath();
    t.forEach((v, i) => g.lineTo(i, 30 - (hi > lo ? (v - lo) / (hi - lo) : 0.5) * 28));
    g.stroke();
    return c;
  }

  region(a, b) {
    const p = this.framePixel(this.at(...a)), q = this.framePixel(this.at(...b)), x = Math.floor(Math.min(p[0], q[0])), y = Math.floor(Math.min(p[1], q[1]));
    this.onRegion([Math.max(0, x), Math.max(0, y), Math.ceil(Math.abs(p[0] - q[0])), Math.ceil(Math.abs(p[1] - q[1]))]);
  }

  draw() {
    const [g] = fitCanvas(this.over), b = this.box(), p = this.pinned?.p || this.cursor;
    g.lineWidth = 1;
    if (p && p[0] >= b.x && p[1] >= b.y && p[0] < b.x + b.w && p[1] < b.y + b.h) {
      const X = Math.round(p[0]) + 0.5, Y = Math.round(p[1]) + 0.5;
      g.globalAlpha = 0.6;
      for (const [c, d] of [[token('--well'), 1], [token('--on-veil'), 0]]) {
        g.strokeStyle = c;
        g.beginPath();
        for (const [x1, y1, x2, y2] of [[X + d, b.y, X + d, Y - 7], [X + d, Y + 7, X + d, b.y + b.h], [b.x, Y + d, X - 7, Y + d], [X + 7, Y + d, b.x + b.w, Y + d]]) { g.moveTo(x1, y1); g.lineTo(x2, y2); }
        g.stroke();
      }
      g.globalAlpha = 1;
    }
    if (!this.rubber) return;
    const [s, e] = this.rubber;
    g.strokeStyle = token('--accent');
    g.strokeRect(s[0], s[1], e[0] - s[0], e[1] - s[1]);
  }
}

customElements.define('ts-picture', TsPicture);
