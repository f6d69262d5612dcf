/** A workspace of panels: streams beside each other, a pair over each other, one step for all. */
import { btn, g3, h, segmented } from '../lib/h.js';
import { api, dropPassing, link, loadStreams, may, on, passingStream, state, streamOf } from '../lib/store.js';

const MODES = [['side', 'side by side'], ['wipe', 'wipe'], ['diff', 'difference'], ['blend', 'blend'], ['flicker', 'flicker'], ['checker', 'checker']];
const FLICKER_MS = 340, URL_MAX = 2048, RANGE_MS = 1000, calm = matchMedia('(prefers-reduced-motion: reduce)');
const pack = (o) => btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(o)))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const unpack = (t) => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(t.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))));

function readLayout(query) {
  const start = { v: 1, p: [], mode: 'side', at: 0.5, by: 'latest', shared: true };
  try { const l = unpack(query.get('l') || ''); if (l.v === 1 && Array.isArray(l.p)) return { ...start, ...l, p: l.p.filter((p) => typeof p.s === 'string').slice(0, 24) }; } catch { /* none, or not ours */ }
  return start;
}

export default {
  title: 'Compare',
  mount(shell) {
    const layout = readLayout(shell.query), open = new Map(), off = [];
    let pair = null, pairKey = '', flick = 0, temp = '';
    const add = shell.query.get('add');
    if (add && !layout.p.some((p) => p.s === add)) layout.p.push({ s: add, w: 6, h: 1 });
    const modes = segmented('Mode of the first two', MODES, layout.mode, (m) => setMode(m));
    const sync = segmented('Synchronise', [['latest', 'latest'], ['step', 'by step'], ['time', 'by time']], layout.by, (v) => { layout.by = v; synchronise(); keep(); });
    const shared = btn('', 'Shared range', { text: 'Shared range', pressed: String(layout.shared), on: () => { layout.shared = !layout.shared; shared.setAttribute('aria-pressed', String(layout.shared)); if (layout.shared) ranges(); else freeRanges(); keep(); } });
    const pick = h('select', { 'aria-label': 'Add a stream', onchange: () => { if (pick.value) { layout.p.push({ s: pick.value, w: 6, h: 1 }); pick.value = ''; draw(); keep(); } } });
    shell.top([h('h1', { text: 'Compare' })], [may('write') && btn('live', 'Save as stream', { text: 'Save as stream', cls: 'hide-s', on: save })]);
    const runs = h('div.legend'), pairBox = h('div'), figures = h('div.legend'), grid = h('div.cols.panels'), blank = h('div.blank', { hidden: true }, h('p', { text: 'Add two streams to compare them. On the wall, a tile’s menu adds it here.' }));
    const slider = h('input', { type: 'range', min: 0, max: 1, step: 0.005, value: layout.at, 'aria-label': 'Divider', oninput: () => { layout.at = +slider.value; overlay(); keep(); } });
    shell.page.replaceChildren(h('div.page', {}, h('div.bar', {}, pick, modes, h('span.pair_', {}, slider), h('span.grow'), shared, sync), runs, blank, pairBox, figures, grid));

    function view(stream, label) {
      const canvas = h('canvas', { role: 'img', 'aria-label': `${stream}, live picture` }), box = h('div.picbox', {}, canvas, h('span.lbl', { text: label || stream })), shown = link.show(stream, canvas, { options: { max_fps: 30 }, every: 250, onFrame: (m) => { canvas.classList.toggle('pix', m.header.width * 2 < canvas.clientWidth); box.style.setProperty('--fit', m.header.width / m.header.height); box.onFrame_?.(m); } });
      box.close_ = () => shown.close();
      box.canvas_ = canvas;
      return box;
    }
    const closePair = () => { clearInterval(flick); pair?.forEach((b) => b.close_()); pair = null; pairBox.replaceChildren(); figures.replaceChildren(); dropTemp(); };
    const dropTemp = () => { if (temp) { dropPassing(temp); temp = ''; } };

    function draw() {
      const names = state.streams.filter((s) => !s.ended).map((s) => s.name);
      pick.replaceChildren(h('option', { value: '' }, 'Add a stream…'), ...names.filter((n) => !layout.p.some((p) => p.s === n)).map((n) => h('option', { value: n }, n)));
      blank.hidden = layout.p.length > 0;
      for (const [s, b] of open) if (!layout.p.some((p) => p.s === s)) { b.close_(); b.el.remove(); open.delete(s); }
      layout.p.forEach((p, i) => {
        if (!open.has(p.s)) open.set(p.s, panel(p));
        const { el } = open.get(p.s);
        el.style.gridColumn = `span ${Math.max(2, Math.min(12, p.w || 6))}`;
        el.style.setProperty('--rows', String(p.h || 1));
        if (grid.children[i] !== el) grid.insertBefore(el, grid.children[i] || null);
      });
      modes.hidden = layout.p.length < 2;
      setMode(layout.mode);
      synchronise();
    }
    function panel(p) {
      const b = view(p.s), el = h('section.panel', { tabindex: 0, draggable: true, 'aria-label': `${p.s}: arrows move, Shift and arrows resize` }, b, h('div.hud.tools_', {}, h('a.btn.quiet.icon', { href: `#/stream/${p.s}`, 'aria-label': `Open ${p.s}` }, '↗'), btn('x', `Remove ${p.s}`, { quiet: 1, on: () => { layout.p = layout.p.filter((q) => q.s !== p.s); draw(); keep(); } })), h('i.grip', { 'aria-hidden': 'true' }));
      el.addEventListener('keydown', (e) => {
        const d = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[e.key], i = layout.p.findIndex((q) => q.s === p.s), q = layout.p[i];
        if (!d || e.target !== el) return;
        e.preventDefault();
        e.stopPropagation();
        if (e.shiftKey) { if (/Left|Right/.test(e.key)) q.w = Math.max(2, Math.min(12, (q.w || 6) + d)); else q.h = Math.max(1, Math.min(4, (q.h || 1) + d)); } else if (layout.p[i + d]) { layout.p.splice(i, 1); layout.p.splice(i + d, 0, q); }
        draw();
        el.focus();
        keep();
      });
      el.addEventListener('dragstart', (e) => { e.dataTransfer.setData('text/plain', p.s); });
      el.addEventListener('dragover', (e) => e.preventDefault());
      el.addEventListener('drop', (e) => { e.preventDefault(); const from = layout.p.findIndex((q) => q.s === e.dataTransfer.getData('text/plain')), to = layout.p.findIndex((q) => q.s === p.s); if (from >= 0 && from !== to) { layout.p.splice(to, 0, layout.p.splice(from, 1)[0]); draw(); keep(); } });
      const grip = el.lastChild;
      grip.addEventListener('pointerdown', (e) => {
        e.preventDefault();
        el.draggable = false;
        grip.setPointerCapture(e.pointerId);
        const r = el.getBoundingClientRect(), col = grid.clientWidth / 12, q = layout.p.find((x) => x.s === p.s);
        const move = (m) => { q.w = Math.max(2, Math.min(12, Math.round((m.clientX - r.left) / col))); q.h = Math.max(1, Math.min(4, Math.round((m.clientY - r.top) / 260))); el.style.gridColumn = `span ${q.w}`; el.style.setProperty('--rows', String(q.h)); };
        const up = () => { grip.removeEventListener('pointermove', move); grip.removeEventListener('pointerup', up); el.draggable = true; keep(); };
        grip.addEventListener('pointermove', move);
        grip.addEventListener('pointerup', up);
      });
      return { el, close_: b.close_ };
    }

    /* The pair: everything but the difference is made of the two pictures here, so that it works for any stream. */
    async function setMode(m) {
      layout.mode = m;
      modes.set(m);
      slider.parentNode.hidden = !['wipe', 'blend'].includes(m) || layout.p.length < 2;
      const key = [m, ...layout.p.slice(0, 2).map((p) => p.s)].join(' ');
      if (key === pairKey) return;
      pairKey = key;
      closePair();
      if (m === 'side' || layout.p.length < 2) return keep();
      if (m === 'flicker' && calm.matches) { shell.toast('warn', 'Flicker is off', 'This device asks for reduced motion.'); return setMode('side'); }
      const [a, b] = layout.p.map((p) => p.s), ta = streamOf(a)?.source?.tensor, tb = streamOf(b)?.source?.tensor;
      if (m === 'diff' && ta && tb && may('write')) {
        temp = `compare.${Date.now().toString(36)}`;
        const name = temp;
        try { await passingStream(name, { source: { compare: { mode: 'diff', a: ta, b: tb } } }); } catch (e) { temp = ''; shell.fail('No difference of these two')(e); return; }
        if (temp !== name) return dropPassing(name);
        const box = view(name, `${a} − ${b}`);
        box.onFrame_ = (f) => figuresOf(f.header.metrics || {});
        pair = [box];
      } else pair = [view(a), view(b)];
      pairBox.replaceChildren(h(`div.over_.${m}`, {}, pair));
      overlay();
      if (m === 'flicker') flick = setInterval(() => pair?.[1]?.classList.toggle('off_'), FLICKER_MS);
      keep();
    }
    function overlay() {
      const c = pair?.[1];
      if (!c) return;
      c.style.clipPath = layout.mode === 'wipe' ? `inset(0 0 0 ${layout.at * 100}%)` : '';
      c.style.opacity = layout.mode === 'blend' ? layout.at : '';
      c.style.mixBlendMode = layout.mode === 'diff' ? 'difference' : '';
    }
    pairBox.addEventListener('pointermove', (e) => { if (!e.buttons || layout.mode !== 'wipe') return; const r = pairBox.firstChild.getBoundingClientRect(); layout.at = Math.max(0, Math.min(1, (e.clientX - r.left) / r.width)); slider.value = layout.at; overlay(); keep(); });
    function figuresOf(m) { figures.replaceChildren(...[['MSE', m.mse], ['PSNR', m.psnr_db ?? m.psnr, 'dB'], ['max |Δ|', m.max_abs], ['SSIM', m.ssim]].filter(([, v]) => v !== undefined && v !== null).map(([k, v, u]) => h('span', {}, `${k} `, h('b', { text: g3(v) }), u ? ` ${u}` : ''))); }

    let synced = layout.by !== 'latest';
    /* The group is a key of the streams themselves: it is written only when somebody asks for it here, and taken back. */
    function synchronise() {
      if (!may('write') || (layout.by === 'latest' && !synced)) return;
      synced = layout.by !== 'latest';
      for (const p of layout.p) link.send(p.s, { type: 'output', scope: 'all', output: { sync: synced ? { group: 'compare', by: layout.by } : null } });
    }
    async function ranges() {
      if (!layout.shared || layout.p.length < 2) return;
      const all = await Promise.all(layout.p.map((p) => (streamOf(p.s)?.source?.tensor ? api.get(`v1/tensors/${streamOf(p.s).source.tensor}/stats?bins=1`).catch(() => null) : null)));
      const known = all.filter((s) => typeof s?.min === 'number');
      if (known.length < 2 || !shell.alive(token_)) return;
      const lo = Math.min(...known.map((s) => s.min)), hi = Math.max(...known.map((s) => s.max));
      layout.p.forEach((p, i) => { if (all[i] && hi > lo) link.send(p.s, { type: 'view', scope: 'me', view: { normalize: { mode: 'fixed', lo, hi } } }); });
    }
    function freeRanges() { for (const p of layout.p) link.send(p.s, { type: 'view', scope: 'me', view: { normalize: streamOf(p.s)?.view?.normalize || null } }); }
    let timer = 0;
    function keep() {
      clearTimeout(timer);
      timer = setTimeout(() => { const l = pack({ v: 1, p: layout.p, mode: layout.mode, at: Math.round(layout.at * 1000) / 1000, by: layout.by, shared: layout.shared }); if (l.length <= URL_MAX && shell.alive(token_)) { shell.query.delete('add'); shell.replaceQuery({ l }); } }, 250);
    }
    async function save() {
      const t = layout.p.map((p) => streamOf(p.s)?.source?.tensor), name = `compare-${Date.now().toString(36)}`, two = layout.mode !== 'side' && t[0] && t[1];
      const source = two ? { compare: { mode: layout.mode, a: t[0], b: t[1] } } : { panels: layout.p.map((p, i) => (t[i] ? { tensor: t[i], title: p.s } : { stream: p.s, title: p.s })), columns: Math.min(layout.p.length, 3) };
      try { await api.json('PUT', `v1/streams/${name}`, { source }); await loadStreams(); shell.toast('live', `${name} added`, '', { text: 'Open', on: () => shell.go(`#/stream/${name}`) }); } catch (e) { shell.fail('It was not saved')(e); }
    }
    const token_ = shell.token, TAB10 = ['--st-upload', '--st-encode', '--st-render', '--err', '--st-send', '--st-readback', '--st-range', '--st-wait'];
    api.get('v1/runs').then((r) => { runs.replaceChildren(...(r.runs || []).slice(0, 20).map((x, i) => h('button.link', { type: 'button', title: 'Add this run’s streams', onclick: () => { for (const s of state.streams.filter((q) => (q.run || q.name.split('.')[0]) === x.name).slice(0, 8)) if (!layout.p.some((p) => p.s === s.name)) layout.p.push({ s: s.name, w: 4, h: 1 }); draw(); keep(); } }, h('i', { vars: { '--c': `var(${TAB10[i % 8]})` } }), x.name))); }, () => {});
    const again = setInterval(ranges, RANGE_MS);
    off.push(on('streams', draw), () => clearInterval(again));
    shell.keys({ m: () => setMode(MODES[(MODES.findIndex(([k]) => k === layout.mode) + 1) % MODES.length][0]), d: () => setMode('diff'), s: () => { layout.by = { latest: 'step', step: 'time', time: 'latest' }[layout.by]; sync.set(layout.by); synchronise(); keep(); } });
    draw();
    ranges();
    this.unmount = () => {
      clearTimeout(timer);
      if (layout.shared) freeRanges();
      layout.by = 'latest';
      synchronise();
      closePair();
      for (const b of open.values()) b.close_();
      for (const f of off) f();
      shell.page.replaceChildren();
    };

  },
  unmount() {},
};
