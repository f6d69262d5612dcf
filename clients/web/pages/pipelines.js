/** Video pipelines: stages with their times, the document, pictures, events. */
import { btn, h, segmented } from '../lib/h.js';
import { ms, timeOfDay } from '../lib/format.js';
import { api, link, may, on } from '../lib/store.js';
import { chart } from '../lib/chart.js';

const STAGES = [['source', 'camera', ['demux', 'decode']], ['upload', 'db', ['upload', 'convert']], ['detector', 'gaze', ['detect']], ['tracking', 'fit', ['select', 'track', 'mot']], ['camera', 'box', ['camera']], ['overlay', 'live', ['crop', 'overlay', 'download']], ['output', 'film', ['encode']], ['sinks', 'right', ['mux']]];
const HOT = /^(detector\.confidence|select\.|camera\.(?!mode)|overlay\.|sinks\[\d+\]\.bitrate)/, CHECK_MS = 400;
const DOC = '{\n  "source": {"url": "rtsp://host/stream"},\n  "detector": {"kind": "model", "model": "rf-detr-nano"},\n  "sinks": [{"kind": "ws"}]\n}';
const dot = (s) => (/run|live/i.test(s) ? 'live' : /fail|error/i.test(s) ? 'err' : /reconn|start|wait|stall|degrad/i.test(s) ? 'warn' : 'idle');

export default {
  title: 'Pipelines',
  mount(shell) { this.unmount = () => shell.page.replaceChildren(); if (shell.args[0]) one(shell, this); else list(shell, this); },
  unmount() {},
};

function list(shell, page) {
  shell.top([h('h1', { text: 'Pipelines' })], [may('admin') && btn('plus', 'New pipeline', { text: 'New pipeline', on: create })]);
  const body = h('tbody'), blank = h('div.blank', { hidden: true }, h('p', { text: 'No pipelines yet. One reads a camera or a file, detects, follows and sends it on.' }));
  const card = h('article.card', {}, h('div.body', {}, h('table', {}, h('thead', {}, h('tr', {}, ['Pipeline', 'State', 'Source', 'fps', 'Drops'].map((t, i) => h(i > 2 ? 'th.r' : 'th', { text: t })))), body)));
  shell.page.replaceChildren(h('div.page', {}, card, blank));
  async function load() {
    let all = [];
    try { all = (await api.get('v1/pipelines')).pipelines; } catch (e) { blank.firstChild.textContent = e.message; }
    card.hidden = !all.length;
    blank.hidden = all.length > 0;
    body.replaceChildren(...all.map((p) => h('tr', {}, h('td', {}, h('a.nm', { href: `#/pipelines/${p.name || p.id}` }, h(`i.dot.${dot(p.state)}`), p.name || p.id)), h('td', { text: (p.state || '').toLowerCase() }), h('td', { text: p.document?.source?.url || '' }), h('td.r', { text: p.fps?.toFixed(1) ?? '' }), h('td.r', { text: p.frames_dropped?.mailbox ?? '' }))));
  }
  async function create() {
    const name = h('input.inp', { 'aria-label': 'Name', value: 'gate' }), doc = h('textarea', { rows: 8, 'aria-label': 'Document', value: DOC, spellcheck: false }), msg = h('div.msg');
    await shell.dialog('New pipeline', [name, doc, h('div.pr', {}, msg)], [{ text: 'Cancel' }, { text: 'Create', primary: true, on: async () => { try { await api.json('PUT', `v1/pipelines/${name.value}`, JSON.parse(doc.value)); shell.go(`#/pipelines/${name.value}`); return true; } catch (e) { msg.textContent = e.message; return false; } } }]);
  }
  load();
  const timer = setInterval(load, 2000), off = on('event', (e) => { if (e.kind === 'pipeline') load(); });
  page.unmount = () => { clearInterval(timer); off(); shell.page.replaceChildren(); };
}

async function one(shell, page) {
  const id = shell.args[0], token = shell.token, chip = h('span.chip'), history = new Map();
  let doc, shown = null, part = 'source', clean = '';
  const act = (what) => () => api.json('POST', `v1/pipelines/${id}/${what}`, {}).then(load, shell.fail(`${what} failed`));
  shell.top([h('div.crumb', {}, h('a.hide-s', { href: '#/pipelines', text: 'Pipelines' }), h('span.dim.hide-s', { text: '/' }), h('h1', { text: id })), chip], may('admin') ? [['play', 'Start', 'start'], ['reset', 'Restart', 'restart'], ['stop', 'Stop', 'stop']].map(([ic, text, w]) => btn(ic, text, { text, cls: 'hide-s', on: act(w) })) : []);
  const flow = h('div.flow', { role: 'group', 'aria-label': 'Stages' }), pic = h('div.picbox'), valid = h('span.chip'), area = h('textarea', { spellcheck: false, 'aria-label': 'Pipeline document', readonly: !may('admin') }), lines = h('div.ln', { 'aria-hidden': true }), msg = h('div.note.err', { hidden: true }, h('i.dot.err'), h('div')), plot = chart({ label: 'Stage times', height: 120, fill: 0, unit: 'ms' }), events = h('ul'), sinks = h('dl.kv');
  const tabs = segmented('Picture', [['', 'overlay'], ['.camera', 'camera']], '', picture), card = (c, t, r, ...b) => h(`article.card.${c}`, {}, h('header', {}, h('h2', { text: t }), h('span.grow'), r), h('div.body', {}, b));
  shell.page.replaceChildren(h('div.page', {}, flow, h('div.cols', {}, card('c7', id, tabs, pic), card('c5', 'Document', [valid, may('admin') && btn('', 'Apply  Ctrl Enter', { text: 'Apply', on: apply })], h('div.doc', {}, lines, area), msg), card('c7', 'Stage times', '', plot), card('c5', 'Sinks', '', sinks), card('c12', 'Events', '', events))));
  function picture(which) {
    shown?.close();
    const c = h('canvas', { role: 'img', 'aria-label': `${id}${which}, live picture` });
    pic.replaceChildren(c);
    shown = link.show(id + which, c, { options: { max_fps: 30 }, every: 500 });
  }
  const number = () => { lines.textContent = area.value.split('\n').map((_, i) => i + 1).join('\n'); area.style.height = `${area.value.split('\n').length * 18 + 24}px`; };
  let timer = 0;
  area.addEventListener('input', () => { number(); clearTimeout(timer); timer = setTimeout(check, CHECK_MS); });
  area.addEventListener('keydown', (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { e.preventDefault(); apply(); } });
  function refuse(e) {
    const path = (e.message.match(/[a-z_]+(\.[a-z_]+|\[\d+\])+|"[a-z_]+"|'[a-z_]+'/i) || [])[0]?.replace(/["']/g, ''), key = path?.split(/[.[]/).pop()?.replace(']', '');
    msg.hidden = false;
    msg.lastChild.replaceChildren(path ? h('b', { text: path }) : '', h('div', { text: e.message }));
    valid.replaceChildren(h('i.dot.err'), 'refused');
    const at = key ? area.value.indexOf(`"${key}"`) : -1;
    lines.classList.toggle('bad', at >= 0);
    if (at >= 0) { const n = area.value.slice(0, at).split('\n').length; lines.textContent = area.value.split('\n').map((_, i) => (i + 1 === n ? `▸${i + 1}` : i + 1)).join('\n'); }
  }
  async function check() {
    try {
      const d = JSON.parse(area.value);
      await api.json('PUT', `v1/pipelines/${id}?validate=1`, d);
      number();
      msg.hidden = true;
      const cold = changes(doc, d).filter((p) => !HOT.test(p));
      valid.replaceChildren(h(`i.dot.${cold.length ? 'warn' : 'live'}`), cold.length ? `needs restart: ${cold.slice(0, 3).join(', ')}` : 'valid');
    } catch (e) { refuse(e); }
  }
  async function apply() {
    try {
      const d = JSON.parse(area.value), all = changes(doc, d), cold = all.filter((p) => !HOT.test(p));
      if (!all.length) return;
      if (cold.length) await api.json('PUT', `v1/pipelines/${id}`, d);
      else await api.json('PATCH', `v1/pipelines/${id}`, pick(d, all));
      shell.toast('live', cold.length ? `${id} was restarted` : 'Applied without a restart', all.join(', '));
      clean = '';
      load();
    } catch (e) { refuse(e); }
  }
  async function load() {
    let p;
    try { p = await api.get(`v1/pipelines/${id}`); } catch (e) { if (shell.alive(token)) { chip.textContent = e.message; } return; }
    if (!shell.alive(token)) return;
    doc = p.document || p.config || doc || {};
    chip.replaceChildren(h(`i.dot.${dot(p.state)}`), `${p.state.toLowerCase()}${p.fps ? `, ${p.fps.toFixed(1)} fps` : ''}${/reconn|stall/i.test(p.state) ? ', NO SIGNAL' : ''}`);
    const text = JSON.stringify(doc, null, 2);
    if (text !== clean && document.activeElement !== area) { clean = text; area.value = text; number(); valid.replaceChildren(h('i.dot.live'), 'valid'); }
    drawStages(p);
    sinks.replaceChildren(...(p.sinks || doc.sinks || []).flatMap((s) => [h('dt', { text: s.kind }), h('dd', { text: [(s.state || '').toLowerCase(), s.url || s.dir || s.path, s.error?.detail || s.error].filter(Boolean).join(' · ') })]));
    events.replaceChildren(...(p.events || []).slice(-12).reverse().map((e) => h('li.ev', {}, h('time', { text: timeOfDay(e.t ?? 0) }), h(`i.dot.${dot(e.to || '')}`), h('p', {}, `${(e.to || '').toLowerCase()}. `, h('span', { text: [e.reason, e.detail].filter(Boolean).join(': ') })))));
  }
  function drawStages(p) {
    const t = p.timings_ms || {}, of = (k) => { const v = t[k]; return typeof v === 'number' ? v : v?.p50 ?? 0; };
    const rows = STAGES.map(([name, ic, keys]) => ({ name, ic, v: keys.reduce((a, k) => a + of(k), 0) })), slow = rows.reduce((a, b) => (b.v > a.v ? b : a)), fact = { source: doc.source?.url, detector: doc.detector?.model || doc.detector?.kind, camera: doc.camera?.mode, output: doc.output && `${doc.output.width} × ${doc.output.height}`, sinks: doc.sinks?.map((s) => s.kind).join(', ') };
    flow.replaceChildren(...rows.flatMap((r, i) => [i ? h('div.wire', { 'aria-hidden': 'true' }, p.queues?.[r.name] !== undefined && h('span', { text: p.queues[r.name] })) : '', h(`button.stagebox${r === slow && r.v > 0 ? '.slow' : ''}`, { type: 'button', 'aria-pressed': String(part === r.name), 'aria-label': `${r.name}, ${ms(r.v)} ms${r === slow ? ', slowest' : ''}`, onclick: () => { part = r.name; const at = area.value.indexOf(`"${r.name}"`); if (at >= 0) { area.focus(); area.setSelectionRange(at, at + r.name.length + 2); area.parentNode.scrollTop = area.value.slice(0, at).split('\n').length * 18 - 60; } drawStages(p); } }, h('span.k', { text: r.name }), h('div.v', {}, ms(r.v), h('small', { text: ' ms' })), h('div.s', { text: fact[r.name] || '\u00a0' }))]).filter(Boolean));
    const now = Date.now() / 1000, colours = ['--st-render', '--st-encode', '--st-upload'];
    for (const r of rows) { const l = history.get(r.name) || []; l.push([now, r.v]); history.set(r.name, l.slice(-60)); }
    plot.set([...rows].sort((a, b) => b.v - a.v).slice(0, 3).map((r, i) => ({ name: r.name, color: colours[i], x: history.get(r.name).map((q) => q[0] - now), y: history.get(r.name).map((q) => q[1]) })));
  }
  picture('');
  load();
  const poll = setInterval(load, 1000);
  page.unmount = () => { clearInterval(poll); clearTimeout(timer); shown?.close(); shell.page.replaceChildren(); };
}

/* Paths that differ, e.g. camera.omega or sinks[0].bitrate. */
function changes(a, b, at = '') {
  if (JSON.stringify(a) === JSON.stringify(b)) return [];
  const deep = (v) => v && typeof v === 'object';
  if (!deep(a) || !deep(b) || Array.isArray(a) !== Array.isArray(b)) return [at];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((k) => changes(a[k], b[k], Array.isArray(a) ? `${at}[${k}]` : at ? `${at}.${k}` : k));
}

/* The part of a document that holds these paths; lists as a whole. */
function pick(d, paths) {
  const out = {};
  for (const p of paths) {
    const keys = p.split('[')[0].split('.');
    let from = d, to = out;
    keys.forEach((k, i) => { from = from?.[k]; if (i === keys.length - 1) to[k] = from ?? null; else to = to[k] ||= {}; });
  }
  return out;
}
