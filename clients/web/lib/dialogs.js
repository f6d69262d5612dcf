/** Dialogs, menus and the sheets of the shell. Native <dialog> and popover: the browser keeps focus and layers. */
import { btn, h, icon } from './h.js';
import { state } from './store.js';
import { timeOfDay } from './format.js';

/** @returns {HTMLDialogElement & {done: Promise<string>}} */
export function dialog(title, body, buttons = [], cls = '') {
  const d = h(`dialog${cls}`, { 'aria-label': title });
  const close = (v) => { d.returnValue = v || ''; d.close(); };
  d.append(h('header', {}, h('h2', { text: title }), h('span.grow'), btn('x', 'Close', { quiet: 1, on: () => close() })), h('div.body', {}, body));
  if (buttons.length) d.append(h('footer', {}, buttons.map((b) => btn(b.icon, b.text, { text: b.text, cls: b.primary ? 'primary' : '', on: async () => { if (!b.on || (await b.on()) !== false) close(b.value || b.text); } }))));
  d.done = new Promise((r) => d.addEventListener('close', () => { d.remove(); r(d.returnValue); }));
  d.addEventListener('click', (e) => { if (e.target === d) close(); });
  document.body.append(d);
  d.showModal();
  d.querySelector('.body input, .body select, .body textarea, .primary')?.focus();
  return d;
}

/** Ask before something that cannot be taken back. */
export const confirm = async (title, text, verb) => (await dialog(title, h('p', { text }), [{ text: 'Cancel' }, { text: verb, primary: true, value: 'yes' }]).done) === 'yes';

/** A menu at a point or below an element. items: [icon, text, action, key?]. */
export function menu(anchor, x, y, items) {
  const m = h('div.pop', { popover: 'auto', role: 'menu' });
  m.append(...items.filter(Boolean).map(([ic, text, on, key]) => h('button', { type: 'button', role: 'menuitem', onclick: () => { m.hidePopover(); on(); } }, icon(ic), text, key && h('span.kbd', { text: key }))));
  document.body.append(m);
  m.addEventListener('toggle', (e) => { if (e.newState === 'closed') m.remove(); });
  m.addEventListener('keydown', (e) => {
    const d = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (!d) return;
    e.preventDefault();
    const all = [...m.children];
    all[(all.indexOf(document.activeElement) + d + all.length) % all.length].focus();
  });
  m.showPopover();
  const r = anchor.getBoundingClientRect(), w = m.offsetWidth, hh = m.offsetHeight;
  const left = x ?? Math.min(r.left, r.right - w), topY = y ?? r.bottom + 4;
  m.style.left = `${Math.max(8, Math.min(left, innerWidth - w - 8))}px`;
  m.style.top = `${Math.max(8, Math.min(topY, innerHeight - hh - 8))}px`;
  m.firstChild?.focus();
}

/** Ask for the token; null when it is given up. */
export async function tokenDialog() {
  const field = h('input.inp', { type: 'password', 'aria-label': 'Token', autocomplete: 'current-password' }), keep = h('input', { type: 'checkbox' });
  const d = dialog('This server asks for a token', [h('p.mid', { text: 'It is sent with every request of this page and never put into an address.' }), field, h('label.sw', {}, keep, 'Remember on this device')], [{ text: 'Sign in', primary: true, value: 'yes' }]);
  field.addEventListener('keydown', (e) => { if (e.key === 'Enter') { e.preventDefault(); d.returnValue = 'yes'; d.close('yes'); } });
  field.focus();
  return (await d.done) === 'yes' && field.value.trim() ? { token: field.value.trim(), remember: keep.checked } : null;
}

const DOTS = { deleted: 'idle', 'owner-lost': 'err', failed: 'err', state: 'warn' };

/** One line of an event. */
export function eventLine(e) {
  const words = { created: 'created', changed: 'changed', deleted: 'deleted', finished: 'finished', moved: 'moved', 'owner-lost': 'lost its owner', detections: 'detected something' };
  const what = e.event === 'state' ? `is ${e.state || 'in a new state'}` : words[e.event] || e.event;
  const bad = /fail|error|lost/.test(String(e.state || e.event));
  return h('li.ev', {}, h('time', { text: timeOfDay(e.time) }), h(`i.dot.${bad ? 'err' : DOTS[e.event] || 'live'}`), h('p', {}, `${e.name} ${what}. `, h('span', { text: e.detail || e.reason || e.kind || '' })));
}

export function eventsSheet(shell) {
  state.unread = 0;
  const kinds = ['', ...new Set(state.events.map((e) => e.kind))], ul = h('ul');
  const pick = h('select', { 'aria-label': 'Kind', onchange: () => draw() }, kinds.map((k) => h('option', { value: k }, k || 'All kinds')));
  const draw = () => {
    const list = state.events.filter((e) => !pick.value || e.kind === pick.value).slice(0, 256);
    ul.replaceChildren(...(list.length ? list.map(eventLine) : [h('li.dim', { text: 'Nothing has happened since this page was opened.' })]));
  };
  draw();
  dialog('Events', [pick, ul], [], '.side-sheet');
  document.querySelector('.top .unread')?.classList.remove('unread');
}

const KEYS = [['Ctrl K', 'Search and commands'], ['/', 'Filter'], ['Space', 'Pause, resume, freeze all'], ['← →', 'Step −1, +1; with Shift ×10'], ['L', 'Live'], ['Home End', 'Oldest, newest'], ['+ − 0', 'Zoom in, out, fit'], ['F', 'Full screen'], ['1 … 9', 'Colormap'], ['Shift R', 'Reverse colormap'], ['A', 'Auto range'], ['[ ]', 'Slice −1, +1'], ['P', 'Pin step'], ['R', 'Record, stop'], ['I', 'Inspector'], ['M', 'Next compare mode'], ['D', 'Difference with the previous'], ['S', 'Synchronisation'], ['C', 'Copy as curl'], ['Y', 'Copy link'], ['T', 'Theme'], ['G then L T C S', 'Live, Tensors, Compare, System'], ['J K', 'Next, previous stream'], ['Ctrl Z', 'Undo'], ['Esc', 'Close, back to Live'], ['?', 'This table']];

export function keysSheet(setting) {
  const off = h('input', { type: 'checkbox', checked: setting('keys') !== 'off', onchange: () => setting('keys', off.checked ? '' : 'off') });
  dialog('Keys', [h('div.keys', {}, KEYS.map(([k, text]) => h('div', {}, text, h('span.kbd', { text: k })))), h('label.sw', {}, off, 'Single-key shortcuts')], [], '.wide');
}
