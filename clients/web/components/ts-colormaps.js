/** The colormap picker: swatches by group, reverse, custom two colours or stops. */
import { btn, h } from '../lib/h.js';
import { colormaps, nameOf, strip } from '../lib/colormap.js';

const GROUPS = ['sequential', 'diverging', 'cyclic', 'categorical', 'custom'];
const hex = (c) => `#${c.map((v) => Math.round(v * 255).toString(16).padStart(2, '0')).join('')}`;
const rgb = (t) => [1, 3, 5].map((i) => Math.round(parseInt(t.slice(i, i + 2), 16) / 255 * 1000) / 1000);
const asObject = (v) => (typeof v === 'string' ? { name: v } : { ...v });

/** Names in the order of the keys 1 … 9. */
export async function order() {
  const all = await colormaps().catch(() => []);
  return all.filter((m) => m.uniform).concat(all.filter((m) => !m.uniform)).sort((a, b) => GROUPS.indexOf(a.group) - GROUPS.indexOf(b.group)).map((m) => m.name);
}

/** A control for buildForm. */
export function colormapControl(f, set, context) {
  const box = h('div'), grid = h('div.cms', { role: 'radiogroup', 'aria-label': 'Colormap' });
  let value, buttons = [];
  const put = (name, reverse) => {
    const o = typeof value === 'object' ? asObject(value) : null, full = name + (reverse ? '_r' : '');
    if (!o || o.min_color || o.stops) return set(full);
    delete o.reverse;
    set({ ...o, name: full });
  };
  const rev = btn('', 'Reverse', { text: 'Reverse', quiet: 1, pressed: 'false', key: 'Shift R', on: () => { const n = nameOf(value); if (n.base) put(n.base, !n.reverse); else set({ ...value, ...(value.stops ? { stops: value.stops.map(([p, c]) => [1 - p, c]).reverse() } : { min_color: value.max_color, max_color: value.min_color }) }); } });
  const from = h('input', { type: 'color', 'aria-label': 'Lowest colour', oninput: custom }), to = h('input', { type: 'color', 'aria-label': 'Highest colour', oninput: custom });
  const stops = h('textarea', { rows: 2, spellcheck: false, 'aria-label': 'Stops', placeholder: '[[0,[0,0,0]],[1,[1,1,1]]]', onchange: () => { try { set({ stops: JSON.parse(stops.value) }); } catch (e) { context.problem('colormap', e.message); } } });
  function custom() { set({ min_color: rgb(from.value), max_color: rgb(to.value) }); }
  box.append(h('div.val.end', {}, rev), grid, h('details', {}, h('summary', {}, 'Custom'), h('div.pr', {}, h('span.lab', { text: 'From, to' }), h('div.val', {}, from, to)), stops));
  colormaps().then((all) => {
    const sorted = GROUPS.flatMap((g) => all.filter((m) => (m.group || 'custom') === g).sort((a, b) => Number(b.uniform) - Number(a.uniform)));
    buttons = sorted.map((m) => {
      const c = h('canvas', { width: 64, height: 1, 'aria-hidden': true }), b = h('button.cm', { type: 'button', role: 'radio', title: `${m.name}, ${m.group || 'custom'}${m.uniform === false ? ', not uniform' : ''}`, onclick: () => put(m.name, nameOf(value).reverse) }, c, m.name);
      strip(c, m.name);
      b.name_ = m.name;
      return b;
    });
    grid.replaceChildren(...buttons);
    show(value);
  }).catch(() => grid.replaceChildren(h('p.dim.wide_', { text: 'The list of colormaps did not come.' })));
  grid.addEventListener('keydown', (e) => {
    const d = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 4, ArrowUp: -4 }[e.key], i = buttons.indexOf(document.activeElement);
    if (!d || i < 0) return;
    e.preventDefault();
    e.stopPropagation();
    const b = buttons[Math.max(0, Math.min(buttons.length - 1, i + d))];
    b.focus();
    b.click();
  });
  function show(v) {
    value = v ?? 'viridis';
    const n = nameOf(value);
    rev.setAttribute('aria-pressed', String(n.reverse));
    const hit = buttons.find((b) => b.name_ === n.base) || buttons[0];
    for (const b of buttons) { b.setAttribute('aria-checked', String(b.name_ === n.base)); b.tabIndex = b === hit ? 0 : -1; }
    if (n.custom?.min_color) { from.value = hex(n.custom.min_color); to.value = hex(n.custom.max_color || [1, 1, 1]); }
    if (n.custom?.stops && document.activeElement !== stops) stops.value = JSON.stringify(n.custom.stops);
  }
  return { el: box, wide: true, show };
}
