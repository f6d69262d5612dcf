/** A stream on the wall: the picture at its own aspect, its state, its scale. */
import { ago, g3, h, icon } from '../lib/h.js';
import { link, may, setting, state } from '../lib/store.js';

const STALE_MS = 2000, OFFSCREEN_MS = 2000, LONG_PRESS_MS = 500;
const SCALAR = new Set(['tensor', 'pattern', 'expr', 'tap', 'push', 'stream', 'compare']); /* sources whose pictures are coloured by a range */
const STEPS = [0.25, 0.5, 0.75, 1];
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const sizes = (() => { try { return JSON.parse(setting('sizes') || '{}'); } catch { return {}; } })();
let saving = 0;

/* The size a stream had last time: the wall is laid out right before the first frame. */
function keepSize(name, w, hh) {
  sizes[name] = [w, hh];
  clearTimeout(saving);
  saving = setTimeout(() => setting('sizes', JSON.stringify(Object.fromEntries(Object.entries(sizes).slice(-200)))), 500);
}

const seen = new IntersectionObserver((entries) => { for (const e of entries) e.target.onScreen(e.isIntersecting); }, { rootMargin: '80px' });

/* Long dotted names lose their middle, never their end. */
const shorten = (name) => (name.length > 34 ? `${name.slice(0, 16)}…${name.slice(-16)}` : name);

export class TsTile extends HTMLElement {
  /** @param {{name: string}} stream @param {{onMenu: Function, onTool: Function}} actions */
  setup(stream, actions) {
    this.stream = stream;
    this.actions = actions;
    this.className = 'tile';
    this.setAttribute('role', 'listitem');
    this.draggable = true;
    this.canvas = h('canvas', { role: 'img', 'aria-label': `${stream.name}, live picture` });
    const tool = (ic, label, what) => h('button', { type: 'button', 'aria-label': `${label} ${stream.name}`, title: label, onclick: () => actions.onTool(what, this) }, icon(ic));
    this.wait = h('div.waiting', {}, 'Waiting for the first frame');
    this.pic = h('div.pic', {}, this.canvas, this.wait, h('div.tools', {}, may('write') && tool('rec', 'Record', 'record'), may('write') && tool('pin', 'Pin this frame of', 'pin'), tool('copy', 'Copy image URL of', 'copy'), tool('more', 'More for', 'menu')));
    this.dot = h('i.dot.idle');
    this.stateText = h('span.sr');
    this.fps = h('span.fps');
    this.l2 = h('div.l2');
    this.append(this.pic, h('div.cap', {}, h('div.l1', {}, this.dot, this.stateText, h('a.name', { href: `#/stream/${encodeURIComponent(stream.name)}`, title: stream.name }, shorten(stream.name)), this.fps), this.l2));
    this.size = sizes[stream.name] || [stream.width || 3, stream.height || 2];
    this.aspect();
    this.caption();
    this.addEventListener('contextmenu', (e) => { e.preventDefault(); actions.onMenu(this, e.clientX, e.clientY); });
    this.addEventListener('pointerdown', (e) => { if (e.pointerType === 'touch') this.press = setTimeout(() => actions.onMenu(this), LONG_PRESS_MS); });
    for (const k of ['pointerup', 'pointercancel', 'pointermove']) this.addEventListener(k, () => clearTimeout(this.press));
    return this;
  }

  connectedCallback() { seen.observe(this); }

  disconnectedCallback() {
    seen.unobserve(this);
    clearTimeout(this.away);
    clearTimeout(this.press);
    this.shown?.close();
    this.shown = null;
  }

  onScreen(visible) {
    clearTimeout(this.away);
    if (visible) this.open();
    else this.away = setTimeout(() => { this.shown?.close(); this.shown = null; this.off = true; }, OFFSCREEN_MS);
  }

  open() {
    if (this.shown || !this.isConnected || this.stream.ended) return;
    if (this.off) { /* a canvas can be handed to a worker once */
      const c = h('canvas', { role: 'img', 'aria-label': this.canvas.getAttribute('aria-label') });
      this.canvas.replaceWith(c);
      this.canvas = c;
      this.off = false;
    }
    this.shown = link.show(this.stream.name, this.canvas, { options: this.options(), every: 250, onFrame: (m) => this.onFrame(m) });
  }

  /** The step of scale that covers the pixels on the screen. */
  options() {
    const need = (this.canvas.clientWidth || 320) * (devicePixelRatio || 1), full = this.size[0] > 4 ? this.size[0] : need;
    return { scale: STEPS.find((s) => full * s >= need * 0.98) ?? 1, max_fps: calm.matches ? 2 : 30 };
  }

  resized() {
    if (!this.shown) return;
    const o = this.options(), key = JSON.stringify(o);
    if (key !== this.asked) { this.asked = key; this.shown.options(o); }
    this.canvas.classList.toggle('pix', this.size[0] * 2 <= this.canvas.clientWidth);
  }

  onFrame(m) {
    const { header } = m;
    this.last = Date.now();
    this.header = header;
    this.bytes = m.bytes;
    this.wait.hidden = true;
    const scale = this.asked ? JSON.parse(this.asked).scale : 1;
    const w = header.full_width || Math.round(header.width / scale), hh = header.full_height || Math.round(header.height / scale);
    const ratio = header.width / header.height;
    if (Math.abs(ratio / (this.size[0] / this.size[1]) - 1) > 0.03 || Math.abs(w / this.size[0] - 1) > 0.3) {
      this.size = [w, hh];
      keepSize(this.stream.name, w, hh);
      this.aspect();
      requestAnimationFrame(() => this.resized());
    }
    if (!this.asked) this.resized();
    this.caption();
  }

  aspect() {
    const ar = Math.min(4, Math.max(0.4, this.size[0] / this.size[1]));
    this.style.setProperty('--ar', ar.toFixed(4));
  }

  /** live | stale | paused | failed | ended | waiting */
  status() {
    const m = state.metrics.get(this.stream.name), heard = Math.max(this.last || 0, m?.at || 0);
    if (this.stream.ended) return ['ended', `ended ${ago((Date.now() - this.stream.ended) / 1000)} ago`];
    const bad = this.stream.error || (['failed', 'reconnecting', 'error'].includes(this.stream.state) && this.stream.state);
    if (bad) return ['failed', typeof bad === 'string' ? bad : bad.detail || 'failed'];
    if (this.frozen) return ['paused', 'paused'];
    if (!heard) return ['waiting', 'waiting'];
    if (Date.now() - heard > STALE_MS) return ['stale', `${ago((Date.now() - heard) / 1000)} ago`];
    return ['live', 'live'];
  }

  /** Called on frames and once a second. */
  caption() {
    const [kind, words] = this.status(), m = state.metrics.get(this.stream.name), head = this.header;
    const dots = { live: 'live', failed: 'warn', stale: 'idle', waiting: 'idle', paused: 'idle', ended: 'idle' };
    this.dot.className = `dot ${dots[kind]}`;
    this.stateText.textContent = `${words}, `;
    this.dataset.state = kind;
    this.classList.toggle('ended', kind === 'ended');
    this.fps.textContent = kind === 'live' ? `${Math.round(m?.current_fps ?? m?.fps ?? 0)} fps` : words;
    this.veil(kind === 'failed' ? words : '');
    this.scaleLine(head, m);
    this.recording();
  }

  scaleLine(head, m) {
    const info = this.actions.tensorOf?.(this.stream), range = head?.range, map = this.stream.view?.colormap;
    const view = this.stream.view || {}, scalar = range && SCALAR.has(Object.keys(this.stream.source || {})[0]) && !['rgb', 'line'].includes(view.kind) && !view.rgb && !(info?.shape.length === 3 && !view.kind && [3, 4].includes(info.shape[2])) && range[0] !== null && range.every((v) => typeof v === 'number' || v === 'NaN');
    const what = info ? `${info.dtype} [${info.shape.join(',')}]` : '';
    const total = m?.frame_time_ms?.total?.p50 ?? m?.frame_time_ms?.p50;
    const key = [scalar && range.join(), JSON.stringify(map), what, total?.toFixed?.(1), this.actions.colours, head?.codec].join('|');
    if (key === this.lineKey) return;
    this.lineKey = key;
    if (scalar) {
      const leg = h('canvas', { width: 128, height: 1, 'aria-hidden': true });
      this.actions.strip?.(leg, map);
      this.l2.replaceChildren(h('span', { text: g3(range[0]) }), leg, h('span', { text: g3(range[1]) }), ...(what ? [h('span.opt.txt', { text: what })] : []));
    } else this.l2.replaceChildren(h('span.txt', { text: what || this.stream.fact || Object.keys(this.stream.source || {})[0] || '' }), h('span.grow'), ...(total !== undefined && m.current_fps > 0 ? [h('span.opt', { text: `${total.toFixed(1)} ms` })] : []));
  }

  veil(words) {
    if (words === (this.veiled || '')) return;
    this.veiled = words;
    this.wait.hidden = Boolean(words || this.header);
    this.pic.querySelector('.offline')?.remove();
    if (!words) return;
    this.pic.append(h('div.offline', {}, h('b', { text: 'Source lost' }), h('span.opt', { text: words }), h('button.btn', { type: 'button', onclick: () => this.actions.onTool('retry', this) }, 'Retry now')));
  }

  recording() {
    const r = this.actions.recordingOf?.(this.stream.name);
    if (!r) { this.badge?.remove(); this.badge = null; return; }
    if (!this.badge) this.pic.append(this.badge = h('span.rec', {}, h('i'), h('span')));
    const s = Math.max(0, Math.floor((Date.now() - r.since) / 1000));
    this.badge.lastChild.textContent = `${String(Math.floor(s / 60)).padStart(2, '0')}:${String(s % 60).padStart(2, '0')}`;
  }

  freeze(value) {
    this.frozen = value;
    this.shown?.freeze(value);
    this.caption();
  }
}

customElements.define('ts-tile', TsTile);
