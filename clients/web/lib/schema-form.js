/** Controls from a JSON Schema with x-ui hints. What has no hint still appears, in "More", by its type. */
import { btn, g3, h, n3, readNumber, segmented } from './h.js';

const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);

/** Follow `$ref` within the given documents. */
function resolve(schema, docs, doc) {
  let s = schema, d = doc;
  for (let i = 0; s?.$ref && i < 8; i++) {
    const [file, path = ''] = s.$ref.split('#');
    if (file) d = docs[file];
    const target = path.split('/').filter(Boolean).reduce((o, k) => o?.[k], d);
    s = { ...target, ...s, $ref: target?.$ref };
  }
  return [s || {}, d];
}

/** Every key that can be set: [{path, schema, ui}], nested ones with dots. */
export function fields(docs, name, at = '') {
  const out = [];
  const walk = (schema, doc, prefix, depth) => {
    for (const [key, raw] of Object.entries(schema.properties || {})) {
      const [s, d] = resolve(raw, docs, doc), ui = s['x-ui'], path = prefix + key;
      if (ui?.control === 'none' || ui?.hidden) continue;
      if (ui?.control === 'colormap') {
        out.push({ path, schema: s, ui });
        const object = s.oneOf?.find((o) => o.properties);
        for (const [k, v] of Object.entries(object?.properties || {})) {
          const [t] = resolve(v, docs, d);
          if (t['x-ui']?.object && !t['x-ui'].hidden) out.push({ path: `${path}.${k}`, schema: t, ui: t['x-ui'] });
        }
      } else if (!ui && s.type === 'object' && s.properties && depth < 4) walk(s, d, `${path}.`, depth + 1);
      else out.push({ path, schema: s, ui: ui || { group: 'More', order: 999, control: byType(s) } });
    }
  };
  let root = docs[name];
  for (const k of at.split('.').filter(Boolean)) root = resolve(root.properties[k], docs, docs[name])[0];
  walk(root, docs[name], '', 0);
  return out.sort((a, b) => (a.ui.order ?? 999) - (b.ui.order ?? 999));
}

function byType(s) {
  if (s.enum) return s.enum.length <= 4 ? 'segmented' : 'select';
  return { boolean: 'switch', number: 'number', integer: 'number', string: 'text' }[s.type] || 'json';
}

const label = (f) => f.ui.label || f.path.split('.').pop();
const hex = (c) => `#${(c || [0, 0, 0]).map((v) => Math.round(v).toString(16).padStart(2, '0')).join('')}`;
const fromHex = (t) => [1, 3, 5].map((i) => parseInt(t.slice(i, i + 2), 16));
const name = (f, v) => f.ui.labels?.[v] || String(v);

/* Each maker returns {el, show(value)}; `set` takes a value or undefined (back to the default). */
const MAKE = {
  segmented(f, set) {
    const quick = f.ui.quick || f.schema.enum, rest = f.schema.enum.filter((v) => !quick.includes(v));
    const seg = segmented(label(f), quick.map((v) => [v, name(f, v)]), undefined, set, '.full');
    if (!rest.length) return { el: seg, show: (v) => seg.set(v) };
    const more = h('select', { 'aria-label': `${label(f)}, all`, onchange: () => set(more.value) }, f.schema.enum.map((v) => h('option', { value: v }, name(f, v))));
    return { el: [seg, h('div.pr', {}, h('span.lab', { text: label(f) === f.path.split('.').pop() ? 'Mode' : label(f) }), h('div.val', {}, more))], wide: true, show: (v) => { seg.set(v); more.value = v; } };
  },
  select(f, set) {
    const auto = f.schema.default === undefined;
    const el = h('select', { 'aria-label': label(f), onchange: () => set(el.value === '' ? undefined : f.schema.enum.find((v) => String(v) === el.value)) }, auto && h('option', { value: '' }, 'automatic'), f.schema.enum.map((v) => h('option', { value: v }, name(f, v))));
    return { el, show: (v) => { el.value = v ?? ''; } };
  },
  slider(f, set, context) {
    const lo = f.ui.min ?? f.schema.minimum, hi = f.ui.max ?? f.schema.maximum;
    if (lo === undefined || hi === undefined) return MAKE.number(f, set, context);
    const log = f.ui.scale === 'log' && lo > 0, to = (v) => (log ? Math.log(v) : v), from = (v) => (log ? Math.exp(v) : v);
    const whole = f.schema.type === 'integer' || f.ui.step >= 1;
    const fix = (v) => (whole ? Math.round(v) : parseFloat(v.toPrecision(4)));
    const el = h('input', { type: 'range', min: to(lo), max: to(hi), step: log ? (to(hi) - to(lo)) / 400 : f.ui.step ?? (hi - lo) / 200, 'aria-label': label(f), oninput: () => { const v = fix(from(+el.value)); num.value = n3(v); set(v); } });
    const num = h('input.num', { inputmode: 'decimal', 'aria-label': `${label(f)}, number`, onchange: () => set(clamp(readNumber(num.value), lo, hi)) });
    el.addEventListener('dblclick', () => set(undefined));
    return { el: [el, num], show: (v) => { if (v === undefined) { num.value = ''; el.value = to(lo); return; } el.value = to(v); if (document.activeElement !== num) num.value = whole ? String(v) : n3(v); el.setAttribute('aria-valuetext', `${g3(v)} ${f.ui.unit || ''}`); } };
  },
  number(f, set) {
    const el = h('input.inp', { inputmode: 'decimal', placeholder: f.schema.default !== undefined ? g3(f.schema.default) : 'automatic', 'aria-label': label(f), onchange: () => { const v = readNumber(el.value); set(el.value.trim() === '' || Number.isNaN(v) ? undefined : f.schema.type === 'integer' ? Math.round(v) : v); } });
    scrub(el, f, set);
    return { el: [el, f.ui.unit && h('span.dim', { text: f.ui.unit })], show: (v) => { if (document.activeElement !== el) el.value = v === undefined || v === null ? '' : g3(v); } };
  },
  text(f, set) {
    const el = h('input.inp', { 'aria-label': label(f), onchange: () => set(el.value || undefined) });
    return { el, show: (v) => { if (document.activeElement !== el) el.value = v ?? ''; } };
  },
  pair(f, set, context) {
    const other = f.path.replace(/[^.]+$/, f.ui.pair);
    const one = (path, text) => h('input.num', { inputmode: 'decimal', 'aria-label': text, onchange: (e) => { const v = readNumber(e.target.value); context.set(path, Number.isNaN(v) ? undefined : v, f.ui.pair); } });
    const lo = one(f.path, 'Low'), hi = one(other, 'High');
    return { el: h('div.pair', {}, lo, hi), paths: [f.path, other], show: () => { const [a, b] = context.pair?.() || []; for (const [el, v] of [[lo, context.get(f.path) ?? a], [hi, context.get(other) ?? b]]) if (document.activeElement !== el) el.value = v === undefined || v === null ? '' : n3(v); } };
  },
  color(f, set) {
    const el = h('input', { type: 'color', 'aria-label': label(f), oninput: () => set(fromHex(el.value)) });
    const none = btn('x', `${label(f)}: back to the default`, { quiet: 1, on: () => set(undefined) });
    return { el: [el, none], show: (v) => { el.value = hex(v ?? f.schema.default); none.hidden = v === undefined; } };
  },
  switch(f, set) {
    const el = h('button.toggle', { type: 'button', role: 'switch', 'aria-label': label(f), onclick: () => set(el.getAttribute('aria-checked') === 'true' ? (f.schema.default === true ? false : undefined) : f.ui.on ?? true) });
    return { el, show: (v) => el.setAttribute('aria-checked', String(Boolean(v ?? f.schema.default))) };
  },
  axis(f, set, context) {
    const box = h('div.grow');
    let key = '';
    return { el: box, show(v) {
      const s = context.shape?.() || [], k = `${s}|${v}`;
      if (k === key) return;
      key = k;
      box.replaceChildren(segmented(label(f), (s.length ? s : [0, 0, 0]).slice(0, 8).map((n, i) => [i, String(i), `length ${n}`]), v ?? 0, set, '.full'));
    } };
  },
  slice(f, set, context) {
    const length = () => (context.shape?.() || [])[(context.get('axis') ?? 0) < 0 ? (context.shape().length + context.get('axis')) : context.get('axis') ?? 0] || 1;
    const el = h('input', { type: 'range', min: 0, max: 1, step: 1, 'aria-label': label(f), oninput: () => set(+el.value) });
    const num = h('input.num', { inputmode: 'numeric', 'aria-label': `${label(f)}, number`, onchange: () => set(Math.round(readNumber(num.value)) || 0) });
    let timer = 0;
    const play = btn('play', 'Play slices', { quiet: 1, on() {
      if (timer) { clearInterval(timer); timer = 0; } else timer = setInterval(() => { if (!el.isConnected) { clearInterval(timer); timer = 0; return; } set((+el.value + 1) % length()); }, 100);
      play.setAttribute('aria-pressed', String(Boolean(timer)));
    } });
    return { el: [el, num, play], show(v) { const n = length(); el.max = n - 1; const at = v === undefined ? Math.floor(n / 2) : v < 0 ? n + v : v; el.value = at; if (document.activeElement !== num) num.value = String(at); el.setAttribute('aria-valuetext', `${at} of ${n}`); } };
  },
  json(f, set, context) {
    const el = h('textarea', { rows: 2, spellcheck: false, 'aria-label': label(f), onchange: () => { if (!el.value.trim()) return set(undefined); try { set(JSON.parse(el.value)); } catch (e) { context.problem(f.path, e.message); } } });
    return { el, wide: true, show: (v) => { if (document.activeElement !== el) el.value = v === undefined ? '' : JSON.stringify(v); } };
  },
  filters(f, set) {
    const PARAM = { box: ['r', 1], gauss: ['sigma', 1], median: ['r', 1], sharpen: ['amount', 1], temporal: ['alpha', 0.2] };
    const rows = h('div.form'), add = h('select', { 'aria-label': 'Add a filter', onchange: () => { const p = PARAM[add.value]; put([...list, { op: add.value, ...(p && { [p[0]]: p[1] }) }]); add.value = ''; } }, h('option', { value: '' }, 'Add a filter…'), ['box', 'gauss', 'median', 'sharpen', 'grad', 'laplace', 'abs', 'temporal', 'delta'].map((v) => h('option', { value: v }, v)));
    let list = [], key;
    const put = (l) => set(l.length ? l : undefined);
    return { el: [rows, add], wide: true, show(v) {
      list = v === undefined ? [] : Array.isArray(v) ? v : [v];
      if (key === JSON.stringify(list)) return;
      key = JSON.stringify(list);
      rows.replaceChildren(...list.map((x, i) => { const p = PARAM[x.op]; return h('div.pr', {}, h('span.lab', { text: x.op }), h('div.val', {}, p ? h('input.inp', { inputmode: 'decimal', value: g3(x[p[0]] ?? p[1]), 'aria-label': `${x.op} ${p[0]}`, onchange: (e) => put(list.map((y, k) => (k === i ? { ...y, [p[0]]: readNumber(e.target.value) } : y))) }) : h('span.grow'), btn('x', `Remove ${x.op}`, { quiet: 1, on: () => put(list.filter((_, k) => k !== i)) }))); }));
    } };
  },
};

const clamp = (v, lo, hi) => (Number.isNaN(v) ? undefined : Math.min(hi, Math.max(lo, v)));

/* Drag on a number to change it. */
function scrub(el, f, set) {
  el.addEventListener('pointerdown', (e) => {
    if (document.activeElement === el || e.pointerType === 'touch') return;
    const x0 = e.clientX, v0 = readNumber(el.value), step = f.ui.step ?? (f.schema.type === 'integer' ? 1 : Math.abs(v0) / 100 || 0.01);
    if (Number.isNaN(v0)) return;
    const move = (m) => { if (Math.abs(m.clientX - x0) > 3) set(clamp(parseFloat((v0 + Math.round((m.clientX - x0) / 2) * step).toPrecision(6)), f.schema.minimum ?? -Infinity, f.schema.maximum ?? Infinity)); };
    const up = () => { removeEventListener('pointermove', move); removeEventListener('pointerup', up); };
    addEventListener('pointermove', move);
    addEventListener('pointerup', up);
  });
}

/**
 * Build rows for fields. `context`: {get(path), set(path, value), changed(path), reset(path), shape?(), pair?()}.
 * @returns {{rows: Map<string, any>, update(): void, problem(path: string, text: string): boolean}}
 */
export function buildForm(list, context, custom = {}) {
  const rows = new Map();
  const form = { rows, problem };
  const own = { ...context, problem };
  for (const f of list) {
    const set = (v) => context.set(f.path, v);
    const c = (custom[f.ui.control] || MAKE[f.ui.control] || MAKE[byType(f.schema)])(f, set, own);
    const dot = h('button.chg', { type: 'button', title: 'Changed; press to reset', 'aria-label': `Reset ${label(f)}`, hidden: true, onclick: () => { for (const p of c.paths || [f.path]) context.reset(p); } });
    const msg = h('div.msg', { hidden: true, role: 'alert' });
    const el = c.wide ? h('div.pr.tall', { title: f.schema.description }, (f.ui.label || c.dotted) && h('span.lab', {}, label(f), dot), c.el, msg) : h('div.pr', { title: f.schema.description }, h('span.lab', {}, label(f), dot), h('div.val', {}, c.el), msg);
    rows.set(f.path, { f, c, el, dot, msg });
  }
  function problem(path, text) {
    const hit = [...rows.keys()].filter((k) => path === k || path.startsWith(`${k}.`) || path.startsWith(`${k}[`) || k.startsWith(`${path}.`)).sort((a, b) => b.length - a.length)[0];
    const row = rows.get(hit);
    if (!row) return false;
    row.msg.textContent = text;
    row.msg.hidden = false;
    return true;
  }
  form.clear = () => { for (const r of rows.values()) r.msg.hidden = true; };
  form.update = () => {
    for (const { f, c, el, dot } of rows.values()) {
      el.hidden = !visible(f, context);
      if (el.hidden) continue;
      c.show(context.get(f.path) ?? f.schema.default);
      dot.hidden = !(c.paths || [f.path]).some((p) => context.changed(p));
    }
  };
  return form;
}

function visible(f, context) {
  if (!f.ui.when) return true;
  return Object.entries(f.ui.when).every(([k, v]) => [].concat(v).includes(context.get(k) ?? context.fallback?.(k)));
}

/** Pieces of a form by group, in the order given; advanced ones folded away. */
export function grouped(form, groups) {
  return groups.map((g) => {
    const mine = [...form.rows.values()].filter((r) => (r.f.ui.group || 'More') === g);
    const plain = mine.filter((r) => !r.f.ui.advanced).map((r) => r.el), more = mine.filter((r) => r.f.ui.advanced).map((r) => r.el);
    return { name: g, plain, more, rows: mine };
  }).filter((g) => g.rows.length);
}

export { isObject, label };
