/** History of a stream: step, pause, scrub, pins. What others see stays live. */
import { ago, btn, fitCanvas, group, h, icon, token } from '../lib/h.js';
import { bytes } from '../lib/format.js';
import { api, link, may } from '../lib/store.js';

const REFRESH_MS = 2000;

export class TsTimeline extends HTMLElement {
  /** @param {{stream: string, onSeek: (step: number|null) => void, toast: Function, fail: Function}} options */
  setup(options) {
    Object.assign(this, options);
    this.className = 'time';
    this.setAttribute('role', 'group');
    this.setAttribute('aria-label', 'History');
    this.items = [];
    this.values = new Map(); /* step → the traced statistic */
    this.paused = false;
    this.at = null;
    this.play = btn('pause', 'Pause', { quiet: 1, key: 'Space', on: () => this.toggle() });
    this.pill = h('button.livepill', { type: 'button', 'aria-pressed': 'true', onclick: () => this.live() }, h('i.dot'), h('span', { text: 'Live' }));
    this.label = h('span.chip');
    this.info = h('span.chip.hide-s.hide-l');
    this.speed = h('select.hide-s', { 'aria-label': 'Speed of replay', onchange: () => this.replay(+this.speed.value) }, h('option', { value: '' }, 'speed'), [1, 5, 10, 30, 60].map((v) => h('option', { value: v }, `${v}/s`)));
    this.pin = btn('pin', 'Pin this step', { quiet: 1, key: 'P', on: () => this.pinNow() });
    this.track = h('canvas', { role: 'slider', tabindex: 0, 'aria-label': 'History, step' });
    this.append(h('div.r1', {}, btn('back', 'Step back', { quiet: 1, key: '←', on: () => this.step(-1) }), this.play, btn('fwd', 'Step forward', { quiet: 1, key: '→', on: () => this.step(1) }), this.pill, this.label, h('span.grow'), this.info, this.speed, may('write') && this.pin), this.track);
    this.track.addEventListener('pointerdown', (e) => this.scrub(e));
    this.track.addEventListener('keydown', (e) => {
      const d = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[e.key];
      if (d) { e.preventDefault(); e.stopPropagation(); this.step(d); }
      if (e.key === 'Home') { e.preventDefault(); e.stopPropagation(); this.seekIndex(0); }
      if (e.key === 'End') { e.preventDefault(); e.stopPropagation(); this.live(); }
    });
    this.watch = new ResizeObserver(() => this.draw());
    return this;
  }

  connectedCallback() {
    this.watch.observe(this.track);
    this.load();
    this.timer = setInterval(() => { if (document.visibilityState !== 'hidden') this.load(); }, REFRESH_MS);
    this.onTheme = () => this.draw();
    addEventListener('ts-theme', this.onTheme);
  }

  disconnectedCallback() {
    this.watch.disconnect();
    clearInterval(this.timer);
    removeEventListener('ts-theme', this.onTheme);
  }

  async load() {
    try {
      const r = await api.get(`v1/streams/${this.stream}/history`), list = r.history || r.items || r.steps || [];
      this.items = list.map((i) => (typeof i === 'number' ? { step: i } : i));
      this.summary = r;
    } catch (e) { this.none = e.status; }
    this.infoLine();
    this.draw();
  }

  infoLine() {
    const host = this.items.filter((i) => i.tier === 'host').length, size = this.items.reduce((a, i) => a + (i.bytes || 0), 0);
    if (this.items.length) this.info.replaceChildren('history', h('b', { text: group(this.items.length) }), `steps${size ? `, ${bytes(size)}${host ? '' : ' on device'}` : ''}`);
    else this.info.replaceChildren('no history is kept', may('write') ? h('button.link', { type: 'button', onclick: () => this.keep() }, 'Keep 600 steps') : '');
  }

  keep() { api.json('PATCH', `v1/streams/${this.stream}`, { output: { history: 600 } }).then(() => this.load(), this.fail('History was not switched on')); }

  /** A frame was drawn. `value`: the statistic that is traced, where it is known. */
  frame(header, value) {
    this.header = header;
    if (value !== undefined && header.step !== undefined) {
      this.values.set(header.step, value);
      if (this.values.size > 4000) this.values.delete(this.values.keys().next().value);
    }
    if (!this.paused) this.at = header.step;
    this.text();
    if (!this.drawn || performance.now() - this.drawn > 100) this.draw();
  }

  text() {
    const head = this.header, step = this.at ?? head?.step;
    const replay = this.paused || head?.replay;
    this.pill.setAttribute('aria-pressed', String(!replay));
    this.pill.lastChild.textContent = head?.replay ? 'Replay' : this.paused ? 'Paused' : 'Live';
    const age = this.paused && head?.t ? Date.now() / 1000 - head.t : 0;
    this.label.replaceChildren('step', h('b', { text: step === undefined || step === null ? '–' : group(step) }), age > 1 ? `${ago(age)} ago` : '');
    this.track.setAttribute('aria-valuenow', String(step ?? 0));
    this.track.setAttribute('aria-valuemin', String(this.items[0]?.step ?? 0));
    this.track.setAttribute('aria-valuemax', String(this.items.at(-1)?.step ?? step ?? 0));
    this.track.setAttribute('aria-valuetext', `step ${step ?? 0}${this.paused ? '' : ', live'}`);
  }

  setPaused(v) {
    this.paused = v;
    this.play.replaceChildren(icon(v ? 'play' : 'pause'));
    this.play.title = v ? 'Resume  Space' : 'Pause  Space';
    this.play.setAttribute('aria-label', v ? 'Resume' : 'Pause');
    if (v && !this.told) { this.told = true; this.toast('idle', 'Only you are paused', 'Other viewers stay live.'); }
    this.text();
    this.draw();
  }

  toggle() {
    if (this.paused) { link.send(this.stream, { type: 'resume' }); this.setPaused(false); this.onSeek(null); return; }
    link.send(this.stream, { type: 'pause' });
    this.setPaused(true);
    this.onSeek(this.header?.step ?? null);
  }

  live() {
    link.send(this.stream, { type: 'live' });
    this.at = null;
    this.setPaused(false);
    this.onSeek(null);
  }

  /** Go to a step; the newest of many in one animation frame wins. */
  seek(step) {
    this.at = step;
    if (!this.paused) this.setPaused(true);
    cancelAnimationFrame(this.raf);
    this.raf = requestAnimationFrame(() => { link.send(this.stream, { type: 'seek', step }); this.onSeek(step); });
    this.text();
    this.draw();
  }

  seekIndex(i) { const it = this.items[Math.max(0, Math.min(this.items.length - 1, i))]; if (it) this.seek(it.step); }

  indexAt() {
    const step = this.at ?? this.header?.step;
    let best = this.items.length - 1;
    this.items.forEach((it, i) => { if (Math.abs(it.step - step) < Math.abs((this.items[best]?.step ?? Infinity) - step)) best = i; });
    return best;
  }

  step(d) {
    if (this.items.length) return this.seekIndex((this.paused ? this.indexAt() : this.items.length - 1) + d);
    if (!this.paused) this.toggle();
    link.send(this.stream, { type: 'step', step: d });
  }

  replay(fps) {
    this.speed.value = '';
    if (!fps || !this.items.length) return;
    this.setPaused(true);
    const i = this.indexAt();
    const at = (k) => this.items[k].seq ?? this.items[k].step;
    link.send(this.stream, { type: 'play', from: at(i >= this.items.length - 1 ? 0 : i), to: at(this.items.length - 1), fps, loop: false });
    this.at = null;
  }

  pinNow() {
    const seq = this.header?.seq;
    if (seq === undefined) return;
    link.request(this.stream, { type: 'pin', seq }).then(() => { this.toast('live', `Pinned step ${group(this.header.step ?? seq)}`, 'Pinned steps are never dropped from history.'); this.load(); }, this.fail('The step was not pinned'));
  }

  scrub(e) {
    if (this.items.length < 2) return;
    this.track.setPointerCapture(e.pointerId);
    const to = (x) => {
      const r = this.track.getBoundingClientRect(), f = Math.max(0, Math.min(1, (x.clientX - r.left) / r.width)), [a, b] = this.ends();
      const step = a + f * (b - a);
      let best = 0;
      this.items.forEach((it, i) => { if (Math.abs(it.step - step) < Math.abs(this.items[best].step - step)) best = i; });
      this.seekIndex(best);
    };
    const up = () => { this.track.removeEventListener('pointermove', to); this.track.removeEventListener('pointerup', up); };
    this.track.addEventListener('pointermove', to);
    this.track.addEventListener('pointerup', up);
    to(e);
  }

  ends() {
    const a = this.items[0]?.step ?? 0, b = this.items.at(-1)?.step ?? a + 1;
    return [a, b > a ? b : a + 1];
  }

  draw() {
    if (!this.isConnected) return;
    this.drawn = performance.now();
    const [g, W, H] = fitCanvas(this.track), y0 = H - 16, [a, b] = this.ends(), X = (s) => (s - a) / (b - a) * W, list = this.items;
    if (list.length > 1) {
      const host = list.filter((i) => i.tier === 'host');
      if (host.length) { g.fillStyle = token('--hover'); g.fillRect(0, 0, X(host.at(-1).step), y0); }
      this.trace(g, X, y0, W);
      this.gaps(g, X, y0);
    }
    g.fillStyle = token('--line-2');
    g.fillRect(0, y0, W, 1);
    this.labels(g, W, y0, a, b);
    g.fillStyle = token('--warn');
    for (const i of list) {
      if (!i.pinned) continue;
      const x = X(i.step);
      g.beginPath();
      for (const [dx, y] of [[0, 1], [4, 5], [0, 9], [-4, 5]]) g.lineTo(x + dx, y);
      g.fill();
    }
    const x = list.length > 1 ? this.paused ? Math.round(X(Math.max(a, Math.min(b, this.at ?? b)))) : W - 2 : W - 2;
    g.fillStyle = token('--fg');
    g.fillRect(Math.min(W - 2, Math.max(0, x)), 0, 2, y0 + 1);
  }

  trace(g, X, y0, W) {
    const pts = this.items.map((i) => [X(i.step), i.abs_mean ?? i.value ?? i.mean ?? this.values.get(i.step)]).filter((p) => typeof p[1] === 'number' && Number.isFinite(p[1]));
    if (pts.length < 2) return;
    const lo = Math.min(...pts.map((p) => p[1])), hi = Math.max(...pts.map((p) => p[1])), Y = (v) => y0 - 3 - (hi > lo ? (v - lo) / (hi - lo) : 0.5) * (y0 - 18), acc = token('--accent');
    g.beginPath();
    g.moveTo(pts[0][0], y0);
    for (const [x, v] of pts) g.lineTo(x, Y(v));
    g.lineTo(pts.at(-1)[0], y0);
    g.fillStyle = acc;
    g.globalAlpha = 0.13;
    g.fill();
    g.globalAlpha = 1;
    g.beginPath();
    for (const [x, v] of pts) g.lineTo(x, Y(v));
    g.strokeStyle = acc;
    g.lineWidth = 1.3;
    g.stroke();
    if (W > 700) { g.font = `11px ${token('--font')}`; g.fillStyle = token('--fg-3'); g.textAlign = 'left'; g.textBaseline = 'top'; g.fillText('mean |v|', 8, 3); }
  }

  /* Where items were thinned out the track is hatched. */
  gaps(g, X, y0) {
    const steps = this.items.map((i) => i.step), d = steps.slice(1).map((s, i) => s - steps[i]).sort((p, q) => p - q), usual = d[d.length >> 1] || 1;
    g.strokeStyle = token('--line-2');
    g.lineWidth = 1;
    steps.slice(1).forEach((s, i) => {
      if (s - steps[i] <= usual * 2.5) return;
      g.beginPath();
      for (let x = X(steps[i]); x < X(s); x += 6) { g.moveTo(x, y0); g.lineTo(Math.min(X(s), x + 6), y0 - 6); }
      g.stroke();
    });
  }

  labels(g, W, y0, a, b) {
    g.font = `11px ${token('--font')}`;
    g.fillStyle = token('--fg-3');
    g.textBaseline = 'top';
    if (this.items.length < 2) return;
    const n = Math.max(3, Math.min(8, Math.floor(W / 120)));
    let last = -1e9;
    for (let i = 0; i <= n; i++) {
      const step = Math.round(a + i / n * (b - a)), x = i / n * W;
      if (step === last) continue;
      last = step;
      g.textAlign = i === 0 ? 'left' : i === n ? 'right' : 'center';
      g.fillText(group(step), x, y0 + 4);
    }
  }
}

customElements.define('ts-timeline', TsTimeline);
