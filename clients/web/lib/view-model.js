/** What one viewer sees of one stream: the stream's own view, this viewer's changes, what is sent and kept in the address. */
import { diff, flatten, fold, getPath, mergePatch, nest, same } from '../js/view.js';
import { api, link } from './store.js';

const UNDO_STEPS = 50, OWN_KEYS = new Set(['step', 'scope', 'zoom', 'theme', 'q', 'open']);
const asObject = (v) => (typeof v === 'string' ? { name: v } : { ...(v || {}) });

/** RFC 7396 patch that turns a into b. */
function patchTo(a, b) {
  const out = {};
  for (const [path, v] of Object.entries(diff(a, b))) {
    const whole = path.startsWith('colormap');
    if (whole) out.colormap = b.colormap ?? null;
    else deep(out, nest(path, v));
  }
  return out;
}

function deep(into, from) {
  for (const [k, v] of Object.entries(from)) {
    if (v && typeof v === 'object' && !Array.isArray(v) && k !== 'colormap') deep(into[k] ||= {}, v);
    else into[k] = v;
  }
  return into;
}

export class ViewModel {
  /** @param {{stream: any, tensor?: any, onChange: (why: string) => void, onProblem: (text: string) => void}} options */
  constructor({ stream, tensor, onChange, onProblem }) {
    this.stream = stream;
    this.name = stream.name;
    this.onChange = onChange;
    this.onProblem = onProblem;
    this.base = fold(stream.view);
    this.view = this.base;
    this.scope = 'me';
    this.tensor = tensor;
    this.range = null;
    this.undoStack = [];
    this.output = stream.output || {};
  }

  get shape() { return this.tensor?.shape; }

  /** What is drawn when `kind` is not given. */
  kind() {
    if (this.view.kind) return this.view.kind;
    const s = this.shape;
    if (!s) return 'heatmap';
    if (s.length <= 1) return s[0] === 1 || !s.length ? 'heatmap' : 'line';
    if (s.length === 2) return 'heatmap';
    if (s.length === 3) return [3, 4].includes(s[2]) || [3, 4].includes(s[0]) ? 'rgb' : 'grid';
    return 'batch';
  }

  get(path) {
    if (path.startsWith('colormap.')) return asObject(this.view.colormap)[path.slice(9)];
    return getPath(this.view, path);
  }

  isChanged(path) {
    const root = path.startsWith('colormap') ? 'colormap' : path;
    return !same(getPath(this.view, root), getPath(this.base, root));
  }

  /** Change one key. `also` names a second key of the pair that is pinned with it. */
  set(path, value, also) {
    let patch;
    if (path.startsWith('colormap.')) {
      const map = asObject(this.view.colormap ?? 'viridis');
      if (value === undefined) delete map[path.slice(9)];
      else map[path.slice(9)] = value;
      patch = { colormap: map };
    } else patch = nest(path, value === undefined ? null : value);
    if (/^normalize\.(lo|hi)$/.test(path) && also && value !== undefined) {
      const n = this.view.normalize || {};
      patch = { normalize: { mode: 'fixed', lo: n.lo ?? this.range?.[0] ?? 0, hi: n.hi ?? this.range?.[1] ?? 1, [path.slice(10)]: value } };
    }
    if (path === 'normalize.mode' && value !== 'fixed') patch.normalize = { ...patch.normalize, lo: null, hi: null };
    if (path === 'normalize.mode' && value === 'fixed' && this.range) patch.normalize = { mode: 'fixed', lo: this.range[0], hi: this.range[1] };
    this.apply(patch);
  }

  /** Set low and high by hand. A symmetric range keeps its mode. */
  setRange(lo, hi) {
    const keep = this.view.normalize?.mode === 'symmetric';
    this.apply({ normalize: { mode: keep ? 'symmetric' : 'fixed', lo, hi } });
  }

  auto() {
    const mode = this.view.normalize?.mode, own = this.base.normalize?.mode;
    this.apply({ normalize: { mode: mode && mode !== 'fixed' ? mode : own && own !== 'fixed' ? own : 'minmax', lo: null, hi: null } });
  }

  reset(path) {
    if (path.startsWith('colormap')) return this.apply({ colormap: this.base.colormap ?? null });
    this.apply(nest(path, getPath(this.base, path) ?? null));
  }

  resetAll() { this.apply(patchTo(this.view, this.base), 'reset'); }

  /** Apply a merge patch here at once, and to the server with the next animation frame; the newest wins. */
  apply(patch, why = 'view') {
    if (!Object.keys(patch).length) return;
    const before = this.view;
    if (!this.burst) { this.undoStack.push(before); this.undoStack.splice(0, this.undoStack.length - UNDO_STEPS); }
    clearTimeout(this.burst);
    this.burst = setTimeout(() => { this.burst = 0; }, 600);
    this.view = mergePatch(this.view, patch);
    this.pending = deep(this.pending || {}, patch);
    if (!this.raf) this.raf = requestAnimationFrame(() => this.flush());
    this.onChange(why);
  }

  undo() {
    const v = this.undoStack.pop();
    if (!v) return false;
    this.burst = 1;
    this.apply(patchTo(this.view, v), 'undo');
    clearTimeout(this.burst);
    this.burst = 0;
    return true;
  }

  flush() {
    this.raf = 0;
    const view = this.pending, scope = this.scope;
    this.pending = null;
    if (!view) return;
    const good = this.good || this.base;
    link.request(this.name, { type: 'view', view, scope }).then(() => {
      this.good = mergePatch(good, view);
      if (scope === 'all') this.base = mergePatch(this.base, view);
      this.onChange('sent');
    }, (e) => {
      if (!e.code) return;
      /* Refused: show why where it was set, and the last good value again. */
      this.view = good;
      this.onChange('refused');
      this.onProblem(e.detail || e.message);
    });
  }

  /** Send a part that is no setting of this viewer (a viewport, a camera in motion). */
  sendView(patch) {
    this.view = mergePatch(this.view, patch);
    return link.request(this.name, { type: 'view', view: patch, scope: 'me' });
  }

  getOutput(path) { return getPath(this.output, path); }

  setOutput(path, value) {
    const patch = nest(path, value === undefined ? null : value);
    api.json('PATCH', `v1/streams/${this.name}`, { output: patch }).then((s) => { this.output = s.output || mergePatch(this.output, patch); this.onChange('output'); }, (e) => this.onProblem(e.message));
  }

  changed(why) { this.onChange(why); }

  /** Keys of an address that are view keys. */
  static viewPairs(query, parse) {
    const out = {};
    for (const [k, v] of query) if (!OWN_KEYS.has(k)) out[k] = parse(v);
    return out;
  }

  /** What differs from the stream's own view, as dotted pairs. */
  differences() {
    const d = {};
    for (const [k, v] of Object.entries(diff(this.base, this.view))) {
      if (k.startsWith('viewport')) continue;
      if (k.startsWith('colormap')) Object.assign(d, typeof this.view.colormap === 'object' && this.view.colormap ? flatten({ colormap: this.view.colormap }) : { colormap: this.view.colormap });
      else d[k] = v;
    }
    return d;
  }
}
