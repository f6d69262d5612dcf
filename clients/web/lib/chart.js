/** Lines, areas and stacks over time or step on a canvas. Hover reads all series; drag zooms x; double-click resets. */
import { fitCanvas, g3, h, token } from './h.js';

/* One minimum and one maximum per pixel column, so that no spike is lost; a gap stays a gap. */
function decimate(x, y, X, W) {
  const cols = [];
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(y[i])) { cols.push(null); continue; }
    const c = Math.round(X(x[i]));
    if (c < -1 || c > W + 1) continue;
    const last = cols.at(-1);
    if (last && last[0] === c) { last[1] = Math.min(last[1], y[i]); last[2] = Math.max(last[2], y[i]); } else cols.push([c, y[i], y[i]]);
  }
  return cols;
}

/**
 * @param {{label: string, height?: number, max?: number, fill?: number, stack?: boolean, logX?: boolean, logY?: boolean, unit?: string, plain?: boolean}} options
 * @returns {HTMLCanvasElement & {set: (series: {name: string, color: string, x: number[], y: number[]}[]) => void}}
 */
export function chart(options) {
  const o = { height: 140, fill: 0.1, ...options };
  const c = h('canvas.chart', { role: 'img', 'aria-label': o.label });
  c.style.height = `${o.height}px`;
  let series = [], zoom = null, hover = null, drag = null;
  const colour = (s) => (s.color.startsWith('--') ? token(s.color) : s.color);
  const xs = (v) => (o.logX ? Math.log10(Math.max(v, 1)) : v), ys = (v) => (o.logY ? Math.log10(Math.max(v, 1e-12)) : v);
  let frame = {};
  function draw() {
    if (!c.isConnected || !c.clientWidth) return;
    const [g, W, H] = fitCanvas(c), base = o.plain ? 0 : 16, all = series.filter((s) => s.x.length);
    if (!all.length) return;
    const x0 = zoom?.[0] ?? Math.min(...all.map((s) => xs(s.x[0]))), x1 = zoom?.[1] ?? Math.max(...all.map((s) => xs(s.x.at(-1))));
    const stacked = o.stack ? stack(all) : all, values = stacked.flatMap((s) => s.y.filter(Number.isFinite).map(ys));
    let lo = o.logY || o.auto ? Math.min(...values) : Math.min(0, ...values), hi = o.max ?? Math.max(...values);
    if (!(hi > lo)) { hi = lo + 1; if (o.logY) lo -= 1; }
    if (!o.max) hi += (hi - lo) * 0.1;
    const X = (v) => (xs(v) - x0) / (x1 - x0 || 1) * W, Y = (v) => (H - base) - 1 - (ys(v) - lo) / (hi - lo) * (H - base - 3);
    frame = { W, x0, x1, all };
    if (!o.plain) grid(g, W, H - base, lo, hi);
    for (const s of [...stacked].reverse()) line(g, s, X, Y, W, H - base);
    if (o.plain) return;
    axis(g, W, H, x0, x1);
    if (hover !== null) read(g, X, Y, W, H);
    else if (all.length <= 4) labels(g, all, Y, W);
    if (drag) { g.fillStyle = token('--accent'); g.globalAlpha = 0.15; g.fillRect(Math.min(drag[0], drag[1]), 0, Math.abs(drag[1] - drag[0]), H - base); g.globalAlpha = 1; }
  }
  function line(g, s, X, Y, W, bottom) {
    g.strokeStyle = g.fillStyle = colour(s);
    g.lineWidth = 1.4;
    g.lineJoin = 'round';
    let run = [];
    const flush = () => {
      if (!run.length) return;
      g.beginPath();
      for (const [x, a, b] of run) { g.lineTo(x, Y(a)); if (b !== a) g.lineTo(x, Y(b)); }
      g.stroke();
      if (o.fill) { g.lineTo(run.at(-1)[0], bottom); g.lineTo(run[0][0], bottom); g.globalAlpha = o.stack ? 0.8 : o.fill; g.fill(); g.globalAlpha = 1; }
      run = [];
    };
    for (const p of decimate(s.x, s.y, X, W)) if (p) run.push(p); else flush();
    flush();
  }
  function grid(g, W, H, lo, hi) {
    g.strokeStyle = token('--line');
    g.fillStyle = token('--fg-3');
    g.font = `11px ${token('--font')}`;
    g.textBaseline = 'top';
    g.textAlign = 'left';
    for (const f of [0, 0.5, 1]) { const y = Math.round((1 - f) * (H - 1)) + 0.5, v = lo + f * (hi - lo); g.beginPath(); g.moveTo(0, y); g.lineTo(W, y); g.stroke(); if (f) g.fillText(`${g3(o.logY ? 10 ** v : v)}${f === 1 && o.unit ? ` ${o.unit}` : ''}`, 0, y + 2); }
  }
  function axis(g, W, H, a, b) {
    g.fillStyle = token('--fg-3');
    for (const [f, align] of [[0, 'left'], [0.5, 'center'], [1, 'right']]) { const v = a + f * (b - a); g.textAlign = align; g.fillText(o.x ? o.x(o.logX ? 10 ** v : v) : g3(o.logX ? 10 ** v : v), f * W, H - 13); }
  }
  function labels(g, all, Y, W) {
    g.textAlign = 'right';
    g.textBaseline = 'bottom';
    for (const s of all) { const v = s.y.findLast(Number.isFinite); if (v === undefined) continue; g.fillStyle = colour(s); g.fillText(`${s.name} ${g3(v)}`, W - 2, Math.max(12, Y(v) - 3)); }
  }
  function read(g, X, Y, W, H) {
    const at = frame.x0 + hover / W * (frame.x1 - frame.x0), v = o.logX ? 10 ** at : at;
    g.strokeStyle = token('--fg-3');
    g.beginPath();
    g.moveTo(hover, 0);
    g.lineTo(hover, H - 16);
    g.stroke();
    const text = frame.all.map((s) => { let i = s.x.findIndex((q) => q >= v); if (i < 0) i = s.x.length - 1; return `${s.name} ${g3(s.y[i])}`; });
    g.font = `11px ${token('--font')}`;
    const w = Math.max(...text.map((t) => g.measureText(t).width)) + 12, left = hover + w + 8 > W ? hover - w - 6 : hover + 6;
    g.fillStyle = token('--raised');
    g.fillRect(left, 4, w, text.length * 15 + 6);
    g.textAlign = 'left';
    g.textBaseline = 'top';
    text.forEach((t, i) => { g.fillStyle = colour(frame.all[i]); g.fillText(t, left + 6, 8 + i * 15); });
  }
  if (!o.plain) {
    c.addEventListener('pointermove', (e) => { hover = e.offsetX; if (drag) drag[1] = e.offsetX; draw(); });
    c.addEventListener('pointerleave', () => { hover = null; draw(); });
    c.addEventListener('pointerdown', (e) => { drag = [e.offsetX, e.offsetX]; c.setPointerCapture(e.pointerId); });
    c.addEventListener('pointerup', () => { if (drag && Math.abs(drag[1] - drag[0]) > 6) { const v = (p) => frame.x0 + p / frame.W * (frame.x1 - frame.x0); zoom = [v(Math.min(...drag)), v(Math.max(...drag))]; } drag = null; draw(); });
    c.addEventListener('dblclick', () => { zoom = null; draw(); });
  }
  c.set = (s) => { series = s; requestAnimationFrame(draw); };
  c.option = (k, v) => { o[k] = v; draw(); };
  const watch = new ResizeObserver(draw);
  watch.observe(c);
  return c;
}

function stack(all) {
  let below = [];
  return all.map((s) => { const y = s.y.map((v, i) => (v || 0) + (below[i] || 0)); below = y; return { ...s, y }; });
}

/** Seven stages as one bar. values: {stage: number}; `most` is the full width. */
export function stageBar(values, most) {
  const list = ['wait', 'upload', 'range', 'render', 'readback', 'encode', 'send'].map((k) => [k, values[k] || 0]), sum = list.reduce((a, [, v]) => a + v, 0);
  return h('div.stackbar', { role: 'img', 'aria-label': list.map(([k, v]) => `${k} ${g3(v)}`).join(', ') }, list.map(([k, v]) => v > 0 && h('i', { title: `${k} ${g3(v)} ms`, vars: { '--c': `var(--st-${k})`, '--v': v } })), most > sum && h('i', { vars: { '--c': 'transparent', '--v': most - sum } }));
}
