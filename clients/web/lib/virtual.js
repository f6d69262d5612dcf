/** A table that draws only the rows that are seen: 10 000 rows scroll like 20. */
import { h } from './h.js';

const ROW_PX = 30, EXTRA = 8;

/**
 * @param {{columns: {key: string, label: string, width: string, num?: boolean, sort?: (r: any) => any, cell: (r: any) => any}[],
 *          onOpen?: (r: any) => void, label: string, keyOf: (r: any) => string, select?: boolean, rowPx?: number}} options
 */
export function table(options) {
  const { columns, keyOf, rowPx = ROW_PX } = options;
  let rows = [], sort = null, dir = 1, focus = -1;
  const chosen = new Set(), live = new Map();
  const space = h('div', { role: 'presentation' });
  const head = h('div.hd', { role: 'row' }, columns.map((c) => h(`button${c.num ? '.num' : ''}`, { type: 'button', role: 'columnheader', onclick: () => sortBy(c) }, c.label)));
  const el = h('div.vt', { role: 'grid', 'aria-label': options.label, tabindex: 0, vars: { '--grid': columns.map((c) => c.width).join(' '), '--rowpx': `${rowPx}px` } }, head, space);

  function sortBy(c) {
    if (!c.sort) return;
    dir = sort === c ? -dir : 1;
    sort = c;
    [...head.children].forEach((b, i) => { if (columns[i] === c) b.setAttribute('aria-sort', dir > 0 ? 'ascending' : 'descending'); else b.removeAttribute('aria-sort'); });
    set(rows);
  }

  function set(list) {
    rows = sort ? [...list].sort((a, b) => { const x = sort.sort(a), y = sort.sort(b); return (x < y ? -1 : x > y ? 1 : 0) * dir; }) : list;
    space.style.height = `${rows.length * rowPx}px`;
    space.style.position = 'relative';
    el.setAttribute('aria-rowcount', String(rows.length + 1));
    for (const r of live.values()) r.remove();
    live.clear();
    draw();
  }

  function draw() {
    const from = Math.max(0, Math.floor(el.scrollTop / rowPx) - EXTRA), to = Math.min(rows.length, Math.ceil((el.scrollTop + (el.clientHeight || 600)) / rowPx) + EXTRA);
    for (const [i, r] of live) if (i < from || i >= to) { r.remove(); live.delete(i); }
    for (let i = from; i < to; i++) if (!live.has(i)) { const r = make(i); live.set(i, r); space.append(r); }
    options.onVisible?.(rows.slice(from, to));
  }

  function make(i) {
    const row = rows[i], k = keyOf(row);
    const r = h(`div.rw${row.group ? '.group' : ''}`, { role: 'row', 'aria-rowindex': i + 2, 'aria-selected': options.select ? String(chosen.has(k)) : null, tabindex: i === focus ? 0 : -1 }, columns.map((c) => h(`span${c.num ? '.num' : ''}`, { role: 'gridcell' }, c.cell(row))));
    r.style.top = `${i * rowPx}px`;
    r.addEventListener('click', (e) => { focus = i; if (e.target.closest('button, a, input')) return; if (options.select && (e.ctrlKey || e.metaKey || e.shiftKey)) toggle(i); else options.onOpen?.(row); });
    return r;
  }

  function toggle(i) {
    const k = keyOf(rows[i]);
    if (chosen.has(k)) chosen.delete(k); else chosen.add(k);
    live.get(i)?.setAttribute('aria-selected', String(chosen.has(k)));
    options.onSelect?.(chosen);
  }

  el.addEventListener('keydown', (e) => {
    const d = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 }[e.key];
    if (d) {
      focus = Math.max(0, Math.min(rows.length - 1, focus + d));
      const y = focus * rowPx;
      if (y < el.scrollTop) el.scrollTop = y;
      else if (y + rowPx > el.scrollTop + el.clientHeight - 32) el.scrollTop = y + rowPx - el.clientHeight + 32;
      draw();
      live.get(focus)?.focus({ preventScroll: true });
      e.preventDefault();
      e.stopPropagation();
    } else if (e.key === ' ' && options.select && focus >= 0) { e.preventDefault(); e.stopPropagation(); toggle(focus); } else if (e.key === 'Enter' && focus >= 0 && e.target.closest('.rw') && !e.target.closest('button, a')) options.onOpen?.(rows[focus]);
  });
  el.addEventListener('scroll', () => requestAnimationFrame(draw), { passive: true });
  const watch = new ResizeObserver(draw);
  watch.observe(el);
  return { el, set, chosen, toggleKey(k) { const i = rows.findIndex((r) => keyOf(r) === k); if (i >= 0) toggle(i); }, clear() { chosen.clear(); set(rows); options.onSelect?.(chosen); }, close() { watch.disconnect(); } };
}
