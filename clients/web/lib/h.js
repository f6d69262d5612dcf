/** Building blocks of every page: elements, icons, buttons, numbers. Text enters the page by textContent only. */

/**
 * `h("button.btn.quiet", {onclick, title, vars: {"--x": 1}}, …children)`; false, null and undefined are left out.
 * @returns {any}
 */
export function h(tag, props, ...kids) {
  const [name, ...classes] = tag.split('.'), e = document.createElement(name);
  if (classes.length) e.className = classes.join(' ');
  for (const k in props || {}) {
    const v = props[k];
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k === 'vars') for (const q in v) e.style.setProperty(q, v[q]);
    else if (k === 'text') e.textContent = v;
    else if (k === 'value' || k === 'checked' || k === 'disabled') e[k] = v;
    else e.setAttribute(k, v === true && !k.startsWith('aria') ? '' : v);
  }
  for (const k of kids.flat(9)) if (k !== null && k !== undefined && k !== false) e.append(k);
  return e;
}

export const $ = (selector, root = document) => root.querySelector(selector);

const ICONS = {
  live: 'M2 2.5h5v5H2zM9 2.5h5v3H9zM9 7.5h5v6H9zM2 9.5h5v4H2z', tensor: 'M8 1.8 13.5 5v6L8 14.2 2.5 11V5zM2.5 5 8 8.2 13.5 5M8 8.2v6',
  compare: 'M2 3h12v10H2zM8 1.5v13', gaze: 'M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6z',
  sliders: 'M3 2v4M3 9v5M8 2v7M8 12v2M13 2v2M13 7v7M1.5 7.5h3M6.5 10.5h3M11.5 5.5h3', fit: 'M2 14c3-1 3-9 6-9s3 5 6 4M4 4.2h.01M11.5 3.5h.01M12.5 12.5h.01M6.5 12.5h.01',
  flow: 'M1.5 5.5h4v5h-4zM10.5 2h4v4h-4zM10.5 10h4v4h-4zM5.5 8h2.5V4h2.5M8 8v4h2.5', film: 'M2 3h12v10H2zM5 3v10M11 3v10M2 6.3h3M2 9.6h3M11 6.3h3M11 9.6h3',
  layers: 'M8 2 14 5.2 8 8.4 2 5.2zM2 8.2l6 3.2 6-3.2M2 11l6 3.2 6-3.2', chip: 'M4 4h8v8H4zM6.5 6.5h3v3h-3zM6 1.8V4M10 1.8V4M6 12v2.2M10 12v2.2M1.8 6H4M1.8 10H4M12 6h2.2M12 10h2.2',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.3 10.3 14 14', bell: 'M4 11.5V7a4 4 0 0 1 8 0v4.5l1 1H3zM6.5 14.2h3',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M12.8 3.2l-1.1 1.1M4.3 11.7l-1.1 1.1',
  play: 'M5 3.2v9.6L12.5 8z', pause: 'M5.2 3v10M10.8 3v10', back: 'M11.5 3.2v9.6L5.5 8zM4 3.2v9.6', fwd: 'M4.5 3.2v9.6L10.5 8zM12 3.2v9.6', pin: 'M6 2h4l-.5 4.5 2.5 2H4l2.5-2zM8 8.5v5.5',
  rec: 'M8 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z', stop: 'M4 4h8v8H4z', copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3', chev: 'M10 3 5 8l5 5', right: 'M6 3l5 5-5 5', plus: 'M8 3v10M3 8h10', minus: 'M3 8h10',
  box: 'M2.5 5V2.5H5M11 2.5h2.5V5M13.5 11v2.5H11M5 13.5H2.5V11', more: 'M3.5 8h.01M8 8h.01M12.5 8h.01', camera: 'M2 4.5h8.5v7H2zM10.5 7l3.5-2v6l-3.5-2', reset: 'M3 8a5 5 0 1 0 1.6-3.6M3 2.5v3h3',
  filter: 'M2 3.5h12M4.5 8h7M7 12.5h2', x: 'M4 4l8 8M12 4l-8 8', trash: 'M3 4.5h10M6 4.5v-2h4v2M4.5 4.5l.6 9h5.8l.6-9', down: 'M8 2.5v8M4.5 7 8 10.5 11.5 7M3 13.5h10', up: 'M8 10.5v-8M4.5 6 8 2.5 11.5 6M3 13.5h10', db: 'M2.5 4c0-1.1 2.5-2 5.5-2s5.5.9 5.5 2-2.5 2-5.5 2-5.5-.9-5.5-2zM2.5 4v8c0 1.1 2.5 2 5.5 2s5.5-.9 5.5-2V4',
};
const SVG = 'http://www.w3.org/2000/svg';

/** A 16 px icon in the colour of its text. */
export function icon(name) {
  const s = document.createElementNS(SVG, 'svg'), p = document.createElementNS(SVG, 'path');
  s.setAttribute('class', 'i');
  s.setAttribute('viewBox', '0 0 16 16');
  s.setAttribute('aria-hidden', 'true');
  p.setAttribute('d', ICONS[name] || '');
  if (name === 'more' || name === 'fit') s.setAttribute('stroke-width', '1.8');
  s.append(p);
  return s;
}

/** A button with an icon, a text or both. `label` is its name, `key` the shortcut shown in its title. */
export const btn = (ic, label, o = {}) => h(`button.btn${o.quiet ? '.quiet' : ''}${o.text ? '' : '.icon'}${o.cls ? `.${o.cls}` : ''}`, {
  type: 'button', 'aria-label': o.text ? null : label, title: label + (o.key ? `  ${o.key}` : ''), 'aria-pressed': o.pressed, onclick: o.on, disabled: o.disabled,
}, ic && icon(ic), o.text);

/** A radio group: one tab stop, arrow keys move. `items`: [[value, label, title?], …]. */
export function segmented(label, items, value, onPick, cls = '') {
  const root = h(`div.seg${cls}`, { role: 'radiogroup', 'aria-label': label });
  root.set = (v) => {
    const on = items.some(([k]) => k === v) ? v : items[0]?.[0];
    for (const b of root.children) {
      b.setAttribute('aria-checked', String(b.value_ === v));
      b.tabIndex = b.value_ === on ? 0 : -1;
    }
  };
  for (const [k, text, title] of items) {
    const b = h('button', { type: 'button', role: 'radio', title, onclick: () => { root.set(k); onPick(k); } }, text);
    b.value_ = k;
    root.append(b);
  }
  root.addEventListener('keydown', (e) => {
    const d = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (!d) return;
    e.preventDefault();
    e.stopPropagation();
    const all = [...root.children], next = all[(all.indexOf(document.activeElement) + d + all.length) % all.length];
    next.focus();
    next.click();
  });
  root.set(value);
  return root;
}

const minus = (s) => s.replace('-', '−').replace('e−', 'e-').replace('e-', 'e−').replace('e+', 'e');

/** `%.3g` with a true minus. */
export const g3 = (v) => (typeof v === 'number' ? Number.isFinite(v) ? minus(String(parseFloat(v.toPrecision(3)))) : Number.isNaN(v) ? 'NaN' : v > 0 ? '∞' : '−∞' : v ?? '–');

/** Fixed digits, so that a number that moves does not jitter. */
export function n3(v) {
  if (typeof v !== 'number' || !Number.isFinite(v)) return g3(v);
  const a = Math.abs(v);
  if (a !== 0 && (a < 0.001 || a >= 1e5)) return minus(v.toExponential(1));
  return (v < 0 ? '−' : '') + a.toFixed(a >= 100 ? 0 : a >= 10 ? 1 : a < 1 ? 3 : 2);
}

/** Thin spaces from 10 000 on. */
export const group = (v) => (Math.abs(v) >= 10000 ? String(v).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009') : String(v)).replace('-', '−');

/** Read what a person typed as a number. */
export const readNumber = (text) => parseFloat(String(text).replace('−', '-').replace(/[\s\u2009]/g, ''));

/** "6 s", "12 min". */
export const ago = (s) => (s < 60 ? `${Math.max(0, Math.floor(s))} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`);

/** A value of a custom property. */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A canvas's 2d context cleared and scaled to CSS pixels. @returns {[CanvasRenderingContext2D, number, number]} */
export function fitCanvas(c) {
  const d = Math.min(2, devicePixelRatio || 1), w = Math.max(1, Math.round(c.clientWidth * d)), H = Math.max(1, Math.round(c.clientHeight * d));
  if (c.width !== w || c.height !== H) { c.width = w; c.height = H; }
  const g = c.getContext('2d');
  g.setTransform(d, 0, 0, d, 0, 0);
  g.clearRect(0, 0, w, H);
  return [g, c.clientWidth, c.clientHeight];
}
