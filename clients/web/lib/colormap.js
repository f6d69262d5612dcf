/** The server's colormaps: a rough table at once from the list's swatches, the whole one when it is asked for. */
import { api } from './store.js';

let list = null;
const tables = new Map(); /* name → Float32Array rows × 3, 0…255 */

const GRAY = [[0, 0, 0], [255, 255, 255]];
const rows = (colors, scale) => Float32Array.from(colors.flat(), (v) => v * scale);

/** The list, fetched once. @returns {Promise<any[]>} */
export function colormaps() {
  list ||= api.get('v1/colormaps').then(({ colormaps: all }) => {
    const entries = all.map((e) => (typeof e === 'string' ? { name: e, group: 'sequential', uniform: true } : e));
    for (const e of entries) if (e.swatch && !tables.has(e.name)) tables.set(e.name, rows(e.swatch, 1));
    return entries;
  }).catch((e) => { list = null; throw e; });
  return list;
}

/** Forget the list: a custom colormap was added. */
export const forget = () => { list = null; };

const whole = new Map();

/** Fetch the whole table of a map; resolves when `tableOf` gives it. */
export function load(spec) {
  const name = nameOf(spec).base;
  if (!name) return Promise.resolve();
  if (!whole.has(name)) {
    whole.set(name, api.get(`v1/colormaps/${name}`).then((m) => {
      if (m.colors) tables.set(name, rows(m.colors, 255));
      else if (m.stops) tables.set(name, sampleStops(m.stops));
    }).catch(() => {}));
  }
  return whole.get(name);
}

function sampleStops(stops, n = 64) {
  const out = new Float32Array(n * 3);
  for (let i = 0; i < n; i++) {
    const t = i / (n - 1);
    let k = 0;
    while (k < stops.length - 1 && stops[k + 1][0] <= t) k++;
    const a = stops[k], b = stops[Math.min(k + 1, stops.length - 1)], d = b[0] - a[0], f = d > 0 ? Math.min(1, Math.max(0, (t - a[0]) / d)) : 0;
    for (let c = 0; c < 3; c++) out[i * 3 + c] = (a[1][c] + (b[1][c] - a[1][c]) * f) * 255;
  }
  return out;
}

/** What a view's `colormap` names. */
export function nameOf(spec) {
  const o = typeof spec === 'string' ? { name: spec } : spec || {};
  if (o.min_color || o.stops) return { base: '', reverse: Boolean(o.reverse), custom: o };
  const name = String(o.name || 'viridis').toLowerCase().replace(/^gr(e|a)y(scale)?(?=$|_)/, 'gray'), r = name.endsWith('_r');
  return { base: r ? name.slice(0, -2) : name, reverse: r !== Boolean(o.reverse) };
}

/** A function from t in 0…1 to `rgb(…)`. */
export function colorOf(spec) {
  const { base, reverse, custom } = nameOf(spec);
  const table = custom ? custom.stops ? sampleStops(custom.stops) : rows([custom.min_color, custom.max_color || [1, 1, 1]], 255) : tables.get(base) || rows(GRAY, 1);
  const n = table.length / 3;
  return (t) => {
    let p = Math.min(1, Math.max(0, t)) * (n - 1);
    if (reverse) p = n - 1 - p;
    const i = Math.min(n - 2, Math.floor(p)), f = p - i, k = i * 3;
    const mix = (c) => Math.round(table[k + c] + (table[k + 3 + c] - table[k + c]) * f);
    return `rgb(${mix(0)},${mix(1)},${mix(2)})`;
  };
}

/** Draw a map from left to right over a whole canvas. */
export function strip(canvas, spec) {
  const g = canvas.getContext('2d'), c = colorOf(spec), w = canvas.width;
  for (let x = 0; x < w; x++) {
    g.fillStyle = c(x / (w - 1));
    g.fillRect(x, 0, 1, canvas.height);
  }
}
