/** The focus view: one picture with its range, history and settings. */
import { TsInspector } from '../components/ts-inspector.js';
import { TsPicture } from '../components/ts-picture.js';
import { TsRange } from '../components/ts-range.js';
import { TsTimeline } from '../components/ts-timeline.js';
import { order } from '../components/ts-colormaps.js';
import { btn, g3, group, h, icon } from '../lib/h.js';
import { bytes, clock, curl, ms } from '../lib/format.js';
import { load as loadMap, nameOf } from '../lib/colormap.js';
import { api, link, may, on, state } from '../lib/store.js';
import { ViewModel } from '../lib/view-model.js';
import { parseValue, toQuery, unflatten } from '../js/view.js';

const STATS_MS = 400, URL_MS = 260, SCALAR = ['heatmap', 'strip', 'line', 'grid', 'batch', 'slice', 'project', 'ortho', 'volume', 'hist', 'waterfall'];

class Focus {
  constructor(shell, name, stream) {
    this.shell = shell;
    this.name = name;
    this.stream = stream;
    this.off = [];
    this.model = new ViewModel({ stream, onChange: (why) => this.changed(why), onProblem: (t) => this.problem(t) });
    this.build();
  }

  /* ---- parts ---- */
  build() {
    const { shell, name, model } = this;
    this.chips = { fps: h('span.chip.hide-s'), ms: h('span.chip.hide-s'), size: h('span.chip.hide-s.hide-l'), drop: h('span.chip.hide-s.hide-l') };
    this.kindText = h('span.mono');
    this.record = may('write') ? btn('rec', 'Record', { text: 'Record', key: 'R', cls: 'hide-s', on: () => this.toggleRecord() }) : null;
    shell.top([h('div.crumb', {}, h('a.btn.quiet.icon.only-s', { href: '#/live', 'aria-label': 'Back to Live' }, icon('chev')), h('a.hide-s', { href: '#/live', text: 'Live' }), h('span.dim.hide-s', { text: '/' }), h('h1', { text: name, title: name })), h('span.chip.hide-s', {}, this.kindText)], [this.chips.fps, this.chips.ms, this.chips.size, this.chips.drop, this.record]);
    this.picture = new TsPicture().setup({ stream: name, model, onFrame: (m) => this.frame(m), onValue: (v) => this.range.mark(v), onRegion: (r) => this.region(r), onSlice: (d) => this.slice(d), onRegionChange: () => this.urlSoon() });
    this.range = new TsRange().setup({ get: () => ({ view: model.view, range: this.frameRange() }), onRange: (lo, hi) => model.setRange(lo, hi), onAuto: () => model.auto() });
    this.inspector = new TsInspector().setup({ model, onCurl: () => this.curl(), onLink: () => shell.copy(location.href, 'Link copied'), onMenu: (b) => this.copyMenu(b) });
    this.timeline = new TsTimeline().setup({ stream: name, onSeek: (step) => { this.step = step; this.urlSoon(); }, toast: shell.toast, fail: shell.fail });
    this.stage = h('div.stage', {}, this.picture, this.range);
    this.root = h('div.focus', {}, this.stage, this.inspector, this.timeline);
    shell.page.replaceChildren(this.root);
    this.inspector.build().catch(shell.fail('The settings did not come'));
    this.tensorInfo();
    loadMap(model.view.colormap ?? 'viridis').then(() => this.range.update());
    this.listen();
    this.swipe();
    shell.keys(this.keys());
    this.fromUrl();
    this.kinds();
    this.wait();
  }

  /* Until the first frame says otherwise. */
  wait() {
    const veil = this.picture.veil;
    this.waiting = setTimeout(() => {
      if (this.head) return;
      veil.replaceChildren(h('b', { text: 'Waiting for the first frame' }), h('span', { text: this.stream.error?.detail || this.stream.error || `The source of ${this.name} has not spoken yet.` }));
      veil.hidden = false;
    }, 600);
  }

  async tensorInfo() {
    const t = this.stream.source?.tensor;
    if (!t) { this.kindText.textContent = Object.keys(this.stream.source || {}).join(' '); return; }
    try {
      this.model.tensor = await api.get(`v1/tensors/${t}`);
      this.kindText.textContent = `${this.model.tensor.dtype} [${this.model.tensor.shape.join(',')}]`;
      this.inspector.update();
      this.kinds();
    } catch { /* it may come later */ }
  }

  listen() {
    const { name } = this, mine = (f) => (m) => { if (m.stream === name) f(m); };
    this.off.push(on('metrics', mine((m) => this.metrics(m))), on('stats', mine((m) => { this.streamed = performance.now(); this.statistics(m.stats || m); })));
    this.off.push(on('event', (e) => {
      if (e.kind === 'stream' && e.name === name && e.event === 'changed') this.reload();
      if (e.kind === 'tensor' && e.name === this.stream.source?.tensor) this.tensorInfo();
      if (e.kind === 'recording') this.recordings();
    }));
    this.off.push(on('level', mine((m) => { if (m.level >= 2) this.shell.toast('warn', `Level ${m.level}: ${m.reason || 'your link is slow'}`, 'The picture is sent smaller or less often.'); })));
    this.off.push(on('hello', mine((m) => { if (m.config?.view) this.adopt(m.config); })));
    this.timer = setInterval(() => this.tick(), 500);
    this.onTheme = () => this.range.update();
    addEventListener('ts-theme', this.onTheme);
    this.recordings();
  }

  async reload() { try { this.adopt(await api.get(`v1/streams/${this.name}`)); } catch { /* deleted */ } }

  /* The stream's own view was changed by somebody: what this viewer changed stays. */
  adopt(stream) {
    const { model } = this, mine = unflatten(model.differences());
    this.stream = stream;
    model.output = stream.output || {};
    const fresh = new ViewModel({ stream, onChange() {}, onProblem() {} });
    if (JSON.stringify(fresh.base) === JSON.stringify(model.base)) return;
    model.base = fresh.base;
    const { viewport } = model.view;
    model.view = Object.entries(mine).reduce((v, [k, x]) => ({ ...v, [k]: x && typeof x === 'object' && !Array.isArray(x) && k !== 'colormap' ? { ...v[k], ...x } : x ?? undefined }), { ...fresh.base, ...(viewport && { viewport }) });
    this.changed('adopted');
  }

  /* ---- data ---- */
  frameRange() {
    const r = this.head?.range, num = (v) => (v === 'Infinity' ? Infinity : v === '-Infinity' ? -Infinity : v);
    return r ? r.map(num) : null;
  }

  frame(m) {
    clearTimeout(this.waiting);
    this.picture.veil.hidden = true;
    this.head = m.header;
    this.last = { ...m, at: Date.now() };
    const r = this.frameRange();
    if (r && typeof r[0] === 'number') this.model.range = r;
    if (m.header.stats) { this.streamed = performance.now(); this.statistics(m.header.stats); }
    this.range.hidden = !(r && typeof r[0] === 'number' && SCALAR.includes(this.model.kind()) && !['panels', 'pipeline', 'clip', 'gaze'].some((k) => this.stream.source?.[k]));
    this.range.update();
    this.timeline.frame(m.header, this.stats?.abs_mean ?? this.stats?.mean);
    if (!this.chipsAt || performance.now() - this.chipsAt > 500) { this.chipsAt = performance.now(); this.inspector.update(); this.sizeChips(m); }
    if (!this.polled || performance.now() - this.polled > STATS_MS) this.poll();
  }

  sizeChips(m) {
    this.chips.size.replaceChildren(h('b', { text: bytes(m.bytes).split(' ')[0] }), bytes(m.bytes).split(' ')[1]);
    this.chips.drop.replaceChildren(h('b', { text: group((m.header.dropped_total ?? 0) + m.dropped) }), 'dropped');
    const label = `${this.name}, ${this.timeline.paused ? 'paused' : 'live'}, step ${group(m.header.step ?? 0)}${this.model.range ? `, ${g3(this.model.range[0])} to ${g3(this.model.range[1])}` : ''}`;
    if (!this.labelAt || performance.now() - this.labelAt > 10000 || this.timeline.paused) { this.labelAt = performance.now(); this.picture.canvas.setAttribute('aria-label', label); }
  }

  /* Statistics of the tensor, unless the frames carry them. */
  async poll() {
    this.polled = performance.now();
    const t = this.stream.source?.tensor;
    if (!t || this.polling || this.range.hidden || (this.streamed && performance.now() - this.streamed < 3000)) return;
    this.polling = true;
    try { this.statistics(await api.get(`v1/tensors/${t}/stats?bins=80`)); } catch { /* the tensor is not there yet */ }
    this.polling = false;
  }

  statistics(s) {
    this.stats = s;
    this.inspector.statistics(s);
    this.range.data(s);
  }

  metrics(m) {
    const t = m.frame_time_ms, total = t?.total?.p50 ?? t?.p50 ?? (typeof t === 'number' ? t : undefined);
    this.heard = Date.now();
    this.chips.fps.replaceChildren(h('b', { text: (m.current_fps ?? m.fps ?? 0).toFixed(1) }), 'fps');
    this.chips.ms.replaceChildren(h('b', { text: ms(total) }), 'ms');
    this.inspector.metrics(m, this.last);
  }

  tick() {
    const stale = Math.max(this.heard || 0, this.last?.at || 0), old = stale && Date.now() - stale > 2000;
    this.root.classList.toggle('stale', Boolean(old) || state.link !== 'open');
    if (this.recording) {
      this.record.lastChild.textContent = clock((Date.now() - this.recording.since) / 1000) + (this.recording.bytes ? `, ${bytes(this.recording.bytes)}` : '');
    }
  }

  /* ---- changes ---- */
  changed(why) {
    this.inspector.update();
    this.range.update();
    if (why !== 'refused' && why !== 'output') this.inspector.clearProblems();
    const key = JSON.stringify(this.model.view.colormap ?? 'viridis');
    if (key !== this.mapKey) { this.mapKey = key; loadMap(this.model.view.colormap ?? 'viridis').then(() => this.range.update()); }
    this.kinds();
    this.urlSoon();
  }

  problem(text) { if (!this.inspector.problem(text)) this.shell.toast('err', 'The server refused this view', text); }

  /* Kinds bring their own tools. */
  async kinds() {
    const volume = this.model.kind() === 'volume';
    if (volume === Boolean(this.volume)) { this.volume?.update?.(); return; }
    if (!volume) { this.volume.unmount(); this.volume = null; return; }
    this.volume = {};
    const { mountVolume } = await import('./volume.js');
    if (this.root.isConnected) this.volume = mountVolume(this);
  }

  urlSoon() {
    if (this.urlTimer) return;
    this.urlTimer = setTimeout(() => { this.urlTimer = 0; if (this.shell.alive(this.token)) this.toUrl(); }, URL_MS);
  }

  toUrl() {
    const d = this.model.differences(), w = this.picture.want, round = (v) => Math.round(v * 1e5) / 1e5;
    if (w.w < 1) d.zoom = [w.x + w.w / 2, w.y + w.w / 2, 1 / w.w].map(round).join(',');
    if (this.step !== undefined && this.step !== null) d.step = this.step;
    if (this.model.scope === 'all') d.scope = 'all';
    const shown = Object.fromEntries(Object.entries(d).map(([k, v]) => [k, v === null || v === undefined ? 'null' : v]));
    this.shell.replaceQuery(null, toQuery(shown).replace(/zoom=%22([^%]*)%22/, 'zoom=$1'));
  }

  fromUrl() {
    const q = this.shell.query, { model } = this;
    if (q.get('scope') === 'all' && may('write')) model.scope = 'all';
    const pairs = ViewModel.viewPairs(q, parseValue);
    this.applyPairs(pairs);
    const zoom = (q.get('zoom') || '').replace(/"/g, '').split(',').map(Number);
    if (zoom.length === 3 && zoom.every(Number.isFinite) && zoom[2] > 1) this.startZoom = zoom;
    if (q.has('step')) {
      const step = Number(q.get('step'));
      if (Number.isInteger(step)) { this.step = step; setTimeout(() => { if (this.root.isConnected) this.timeline.seek(step); }, 300); }
    }
    const once = on('hello', (m) => { if (m.stream === this.name) { once(); this.restoreZoom(); } });
    this.off.push(once);
  }

  restoreZoom() {
    if (!this.startZoom) return;
    const go = () => {
      if (!this.root.isConnected) return;
      if (!this.head || (this.stream.source?.tensor && !this.model.tensor)) return setTimeout(go, 50);
      const [cx, cy, z] = this.startZoom;
      this.startZoom = null;
      this.picture.setRegion(cx - 0.5 / z, cy - 0.5 / z, 1 / z);
    };
    go();
  }

  /* One by one where the whole is refused, so that a wrong key is named and the rest still applies. */
  async applyPairs(pairs) {
    if (!Object.keys(pairs).length) return;
    const { schemas } = await import('../components/ts-inspector.js');
    const docs = await schemas().catch(() => null), roots = docs && Object.keys(docs['view.json'].properties);
    for (const k of Object.keys(pairs)) {
      if (!roots || roots.includes(k.split('.')[0])) continue;
      delete pairs[k];
      this.shell.toast('warn', `“${k}” is not a view key`, 'The rest of this link was applied.');
    }
    if (Object.keys(pairs).length) this.model.apply(unflatten(pairs), 'url');
  }

  slice(d) {
    const { model } = this, s = model.shape;
    if (model.kind() !== 'slice' || !s) return;
    const n = s[((model.view.axis ?? 0) + s.length) % s.length], at = model.view.index ?? Math.floor(n / 2);
    model.set('index', Math.max(0, Math.min(n - 1, (at < 0 ? n + at : at) + d)));
  }

  async region(rect) {
    try {
      const r = await link.request(this.name, { type: 'region', rect }), s = r.stats || r;
      this.shell.dialog(`Region ${rect.join(', ')}`, [h('dl.stats', {}, ['count', 'min', 'max', 'mean', 'std', 'nan'].map((k) => h('div', {}, h('dt', { text: k }), h('dd', { text: g3(s[k]) }))))]);
    } catch (e) { this.shell.fail('No statistics of this region')(e); }
  }

  /* ---- recording ---- */
  async recordings() {
    if (!this.record) return;
    const list = await api.get('v1/recordings').then((r) => r.recordings, () => []), r = list.find((x) => x.stream === this.name && x.state === 'recording');
    this.recording = r ? { ...r, since: Date.now() - (r.duration_s ?? r.duration ?? 0) * 1000 } : null;
    this.record.setAttribute('aria-pressed', String(Boolean(r)));
    this.record.lastChild.textContent = r ? this.record.lastChild.textContent : 'Record';
    this.tick();
  }

  async toggleRecord() {
    try {
      if (this.recording) {
        const { id } = this.recording;
        await api.json('POST', `v1/recordings/${id}/stop`);
        this.shell.toast('live', `Recorded ${this.name}`, 'It is in Recordings.', { text: 'Open', on: () => this.shell.go('#/recordings') });
      } else {
        const start = (format) => api.json('POST', `v1/streams/${this.name}/recordings`, { format });
        await start('mp4').catch((e) => (e.status === 501 ? start('webp') : Promise.reject(e)));
      }
    } catch (e) { this.shell.fail(`${this.name} was not recorded`)(e); }
    this.recordings();
  }

  /* ---- copies ---- */
  request() {
    const t = this.stream.source?.tensor, view = toQuery(flatten1(this.model.view));
    return t ? api.url(`v1/tensors/${t}/frame.png`) + (view ? `?${view}` : '') : api.url(`v1/streams/${this.name}/frame.webp`);
  }

  curl() { this.shell.copy(`${curl('GET', this.request(), undefined, api.token)} -o ${this.name}.${this.stream.source?.tensor ? 'png' : 'webp'}`, 'Copied as curl'); }

  copyMenu(b) {
    const own = { source: this.stream.source, view: this.model.view, output: this.model.output };
    this.shell.menu(b, undefined, undefined, [
      ['copy', 'This view as curl', () => this.curl()],
      ['copy', 'This stream as curl', () => this.shell.copy(curl('PUT', api.url(`v1/streams/${this.name}`), own, api.token))],
      ['copy', 'Python', () => this.shell.copy(`import tensorscope as ts\nscope = ts.connect("${api.base}")\nscope.stream("${this.name}", view=${JSON.stringify(this.model.view).replace(/\btrue\b/g, 'True').replace(/\bfalse\b/g, 'False')})`)],
      ['copy', 'JSON', () => this.shell.copy(JSON.stringify(own, null, 2))],
      ['copy', 'Image URL', async () => this.shell.copy(await api.address(`v1/streams/${this.name}/frame.webp`))],
    ]);
  }

  /* ---- keys ---- */
  keys() {
    const t = () => this.timeline, { model, shell } = this;
    const map = {
      ' ': () => t().toggle(), ArrowLeft: (e) => t().step(e.shiftKey ? -10 : -1), ArrowRight: (e) => t().step(e.shiftKey ? 10 : 1), l: () => t().live(),
      Home: () => t().seekIndex(0), End: () => t().live(), '+': () => this.picture.zoomBy(1.5), '=': () => this.picture.zoomBy(1.5), '-': () => this.picture.zoomBy(1 / 1.5), 0: () => this.picture.fit(),
      f: () => (document.fullscreenElement ? document.exitFullscreen() : this.stage.requestFullscreen()), a: () => model.auto(), '[': () => this.slice(-1), ']': () => this.slice(1), p: () => t().pinNow(),
      r: () => may('write') && this.toggleRecord(), R: () => { const n = nameOf(model.view.colormap); if (n.base) model.set('colormap', n.base + (n.reverse ? '' : '_r')); },
      i: () => { this.root.classList.toggle('no-insp'); this.inspector.hidden = !this.inspector.hidden; }, c: () => this.curl(), j: () => this.neighbour(1), k: () => this.neighbour(-1), undo: () => model.undo(), error: (m) => m.stream === this.name,
    };
    for (let i = 1; i <= 9; i++) map[i] = () => { order().then((names) => names[i - 1] && model.set('colormap', names[i - 1])); };
    return map;
  }

  neighbour(d) {
    const l = state.streams, i = l.findIndex((s) => s.name === this.name);
    if (l.length) this.shell.go(`#/stream/${l[(i + d + l.length) % l.length].name}`);
  }

  /* A swipe over the top bar goes to the next stream. */
  swipe() {
    const bar = document.querySelector('.top');
    let from = null;
    const down = (e) => { from = e.pointerType === 'touch' ? [e.clientX, e.clientY] : null; };
    const up = (e) => { if (from && Math.abs(e.clientX - from[0]) > 60 && Math.abs(e.clientY - from[1]) < 40) this.neighbour(e.clientX < from[0] ? 1 : -1); from = null; };
    bar.addEventListener('pointerdown', down);
    bar.addEventListener('pointerup', up);
    this.off.push(() => { bar.removeEventListener('pointerdown', down); bar.removeEventListener('pointerup', up); });
  }

  unmount() {
    clearInterval(this.timer);
    clearTimeout(this.waiting);
    clearTimeout(this.urlTimer);
    cancelAnimationFrame(this.model.raf);
    removeEventListener('ts-theme', this.onTheme);
    for (const f of this.off) f();
    this.volume?.unmount?.();
    link.send(this.name, { type: 'view', view: patchBack(this.model), scope: 'me' });
    if (this.timeline.paused) link.send(this.name, { type: 'live' });
    this.shell.page.replaceChildren();
  }
}

/* Leave the subscription as it was found: tiles share it. */
function patchBack(model) {
  const out = {};
  for (const k of new Set([...Object.keys(model.view), ...Object.keys(model.base)]))
    if (JSON.stringify(model.view[k]) !== JSON.stringify(model.base[k])) out[k] = model.base[k] === undefined ? null : model.base[k];
  return out;
}

function flatten1(view) {
  const out = {};
  for (const [k, v] of Object.entries(view)) {
    if (v && typeof v === 'object' && !Array.isArray(v) && k !== 'colormap') for (const [q, x] of Object.entries(v)) { if (x !== null) out[`${k}.${q}`] = x; } else out[k] = v;
  }
  return out;
}

let focus = null;
export default {
  title: 'Stream',
  async mount(shell) {
    const token = shell.token, name = shell.args[0] || '';
    shell.top([h('h1', { text: name })]);
    try {
      const stream = await api.get(`v1/streams/${encodeURIComponent(name)}`);
      if (!shell.alive(token)) return;
      focus = new Focus(shell, name, stream);
      focus.token = token;
    } catch (e) {
      if (!shell.alive(token)) return;
      shell.page.replaceChildren(h('div.blank', {}, h('p', { text: e.status === 404 ? `There is no stream “${name}”.` : e.message }), h('a.btn', { href: '#/live' }, 'Back to Live')));
    }
  },
  unmount() { focus?.unmount(); focus = null; },
  commands: () => (focus ? [['rec', focus.recording ? 'Stop recording' : 'Record this stream', () => focus.toggleRecord(), 'R'], ['reset', 'Reset the view', () => focus.model.resetAll()], ['copy', 'Copy as curl', () => focus.curl(), 'C'], ['pause', 'Pause or resume', () => focus.timeline.toggle(), 'Space'], ['pin', 'Pin this step', () => focus.timeline.pinNow(), 'P']] : []),
};
