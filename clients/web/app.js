/** The shell: navigation, top bar, routes, keys. Pages are modules with {title, mount(shell), unmount()}. */
import live from './pages/live.js';
import { $, btn, h, icon } from './lib/h.js';
import { api, link, loadServer, may, on, setting, setToken, start, state, undoDelete } from './lib/store.js';

const NAV = [
  ['Watch', ['live', 'Live', 'live'], ['tensor', 'Tensors', 'tensors'], ['compare', 'Compare', 'compare'], ['gaze', 'Gaze and camera', 'gaze']],
  ['Work', ['sliders', 'Decoder', 'decoder'], ['fit', 'Fits', 'fits'], ['flow', 'Pipelines', 'pipelines']],
  ['Keep', ['film', 'Recordings', 'recordings'], ['layers', 'Models', 'models']],
  ['Server', ['chip', 'System', 'system']],
];
const TABS = [['live', 'Live', 'live'], ['tensor', 'Tensors', 'tensors'], ['sliders', 'Work', 'work'], ['film', 'Keep', 'keep'], ['chip', 'System', 'system']];
const PARENT = { stream: 'live', empty: 'live', gaze: 'work', decoder: 'work', fits: 'work', pipelines: 'work', recordings: 'keep', models: 'keep', compare: 'live' };
const LOADERS = {
  stream: () => import('./pages/stream.js'), tensors: () => import('./pages/tensors.js'), compare: () => import('./pages/compare.js'),
  gaze: () => import('./pages/gaze.js'), decoder: () => import('./pages/decoder.js'), fits: () => import('./pages/fits.js'),
  pipelines: () => import('./pages/pipelines.js'), recordings: () => import('./pages/recordings.js'), models: () => import('./pages/models.js'),
  system: () => import('./pages/system.js'), empty: () => import('./pages/empty.js'),
};
const dialogs = () => import('./lib/dialogs.js');

/* ---- theme ---- */
const root = document.documentElement, light = matchMedia('(prefers-color-scheme: light)');
function applyTheme() {
  root.dataset.theme = setting('theme') || (light.matches ? 'light' : 'dark');
  $('meta[name=theme-color]').content = getComputedStyle(root).getPropertyValue('--bg').trim();
  dispatchEvent(new Event('ts-theme'));
}
function toggleTheme() { setting('theme', root.dataset.theme === 'dark' ? 'light' : 'dark'); applyTheme(); }
light.addEventListener('change', applyTheme);
applyTheme();

/* ---- frame of every page ---- */
const app = $('#app');
const top = h('header.top'), page = h('main.main', { id: 'main', tabindex: -1 });
const conn = h('button.conn.hide-s', { type: 'button', title: 'WebSocket round trip', onclick: () => link.post({ op: 'kick' }) }), devcard = h('a.devcard', { href: '#/system' });
const bell = btn('bell', 'Events', { quiet: 1, on: async () => { await shell.styles(); (await dialogs()).eventsSheet(shell); } });

function brand() {
  const c = h('canvas', { width: 4, height: 4, 'aria-hidden': true }), img = new Image();
  img.onload = () => c.getContext('2d').drawImage(img, 0, 0, 4, 4);
  img.src = 'icon.svg';
  return h('a.brand', { href: '#/live', 'aria-label': 'tensorscope, live' }, c, h('span', { text: 'tensorscope' }));
}

function frame() {
  app.replaceChildren(
    h('aside.side', { 'aria-label': 'Navigation' }, brand(), h('nav.nav', { 'aria-label': 'Main' }, NAV.map(([title, ...items]) => [h('h2', { text: title }), h('ul', {}, items.map(([ic, text, key]) => h('li', {}, h('a', { href: `#/${key}`, title: text, 'data-nav': key }, icon(ic), h('span', { text }), h('span.n')))))])), devcard),
    top, page,
    h('nav.tabs', { 'aria-label': 'Sections' }, TABS.map(([ic, text, key]) => h('a', { href: `#/${key}`, 'data-tab': key }, icon(ic), text))));
}

function drawConn() {
  const open = state.link === 'open', wait = state.lost?.retry_ms ? `, ${Math.ceil(state.lost.retry_ms / 1000)} s` : '';
  const text = open ? state.rtt_ms === null ? 'connected' : `${state.rtt_ms.toFixed(1)} ms` : state.link === 'lost' ? `Reconnecting${wait}` : 'Connecting';
  if (conn.dataset.text === text) return;
  conn.dataset.text = text;
  conn.replaceChildren(h(`i.dot.${open ? 'live' : 'warn'}`), text);
}

function drawServer() {
  const s = state.server, counts = { live: state.streams.length || '', ...(s?.counts || {}) };
  for (const a of document.querySelectorAll('[data-nav]')) {
    const v = counts[a.dataset.nav], n = a.querySelector('.n');
    n.textContent = v === undefined || v === 0 ? '' : v;
  }
  const d = s?.devices?.[0];
  if (!d) return devcard.replaceChildren();
  const used = d.memory?.used_bytes ?? 0, limit = d.memory?.limit_bytes ?? d.memory?.limit ?? 0, gib = (v) => (v / 2 ** 30).toFixed(1);
  devcard.setAttribute('aria-label', `${d.name}, memory ${gib(used)} of ${gib(limit)} GiB`);
  devcard.title = d.name;
  const part = (c, v) => h('i', { vars: { '--c': `var(${c})`, '--v': Math.max(v, 0.001) } });
  const busy = d.utilization ?? d.busy;
  devcard.replaceChildren(h('div.row', {}, h('span', { text: d.name }), h('span.dim', { text: busy === undefined ? '' : `${Math.round(busy * (busy <= 1 ? 100 : 1))} %` })), h('div.stackbar', { 'aria-hidden': true }, part('--st-upload', used), part('--hover', Math.max(0, limit - used))), h('div.row', {}, h('span.dim', { text: `${gib(used)} of ${gib(limit)} GiB` })));
}

/* ---- what pages get ---- */
let styles = null, current = null, keymap = {}, announced = '', moved = false;
const shell = {
  page, query: new URLSearchParams(), args: [], token: 0,
  styles() { /* the second stylesheet is not in the way of the first frame */
    styles ||= new Promise((done) => {
      const l = h('link', { rel: 'stylesheet', href: 'components.css', onload: done, onerror: done });
      document.head.append(l);
    });
    return styles;
  },
  top(left, right = []) {
    top.replaceChildren(...left.filter(Boolean), h('span.grow'), ...right.filter(Boolean), conn, btn('search', 'Search and commands', { quiet: 1, key: 'Ctrl K', on: palette }), bell, btn('sun', 'Light or dark', { quiet: 1, key: 'T', on: toggleTheme }));
    document.title = `${top.querySelector('h1')?.textContent || 'Live'} · tensorscope`;
  },
  keys(map) { keymap = map; },
  alive: (t) => t === shell.token,
  go(hash) { location.hash = hash; },
  /** Change the query of the address without a new entry in the history. */
  replaceQuery(pairs, text) {
    const q = text ?? (() => { for (const [k, v] of Object.entries(pairs)) if (v === undefined) shell.query.delete(k); else shell.query.set(k, v); return String(shell.query); })();
    const hash = location.hash.split('?')[0] || '#/live';
    if (text !== undefined) shell.query = new URLSearchParams(text);
    history.replaceState(null, '', hash + (q ? `?${q}` : ''));
    announced = location.hash;
  },
  async toast(kind, title, text, action, ms) { (await import('./lib/toast.js')).toast(kind, title, text, action, ms); },
  fail: (what) => async (e) => {
    if (e?.name === 'AbortError') return;
    (await import('./lib/toast.js')).failed(shell, what, e);
  },
  async dialog(...args) { await shell.styles(); return (await dialogs()).dialog(...args); },
  async menu(...args) { await shell.styles(); (await dialogs()).menu(...args); },
  async confirm(...args) { await shell.styles(); return (await dialogs()).confirm(...args); },
  async copy(text, message = 'Copied') {
    try { await navigator.clipboard.writeText(text); shell.toast('live', message, text.length > 120 ? `${text.slice(0, 120)}…` : text); }
    catch { shell.dialog('Copy', [h('p.mid', { text: 'This page may not write to the clipboard. Select and copy:' }), h('textarea', { readonly: true, value: text, 'aria-label': 'Text to copy' })]); }
  },
};

async function palette() { await shell.styles(); (await import('./lib/palette.js')).open(shell, NAV, toggleTheme, current, api.token && signOut); }

function signOut() { setToken(''); link.post({ op: 'stop' }); location.reload(); }

/* ---- routes ---- */
async function route() {
  if (location.hash === announced && announced) return;
  announced = location.hash;
  const [path, query = ''] = (location.hash || '#/live').split('?'), [, key = 'live', ...args] = path.split('/');
  const token = ++shell.token;
  const known = key === 'live' || LOADERS[key] || ['work', 'keep'].includes(key);
  current?.unmount();
  current = null;
  keymap = {};
  shell.query = new URLSearchParams(query);
  shell.args = args.map(decodeURIComponent);
  app.classList.toggle('rail', key === 'stream' && innerWidth < 1600);
  mark(known ? key : 'live');
  if (key !== 'live') page.replaceChildren();
  const m = key === 'live' || !known ? live : key === 'work' || key === 'keep' ? list(key) : await open(key);
  if (token !== shell.token || !m) return;
  page.scrollTop = 0;
  current = m;
  m.mount(shell);
  if (!known) shell.toast('warn', `There is no page “${key}”`, 'This is Live.');
  if (moved && document.activeElement === document.body) page.focus({ preventScroll: true });
  moved = true;
}

async function open(key) {
  try {
    const [m] = await Promise.all([LOADERS[key](), shell.styles()]);
    return m.default;
  } catch (e) {
    shell.top([h('h1', { text: 'Not loaded' })]);
    page.replaceChildren(h('div.blank', {}, h('p', { text: `This page did not load: ${e.message}` }), btn('reset', 'Try again', { text: 'Try again', on: () => { announced = ''; route(); } })));
    return null;
  }
}

/* On a phone two tabs open a list of their pages. */
function list(key) {
  const [title, ...items] = NAV.find(([t]) => t.toLowerCase() === key);
  return { title, mount() {
    shell.top([h('h1', { text: title })]);
    const more = key === 'work' ? [['compare', 'Compare', 'compare'], ['gaze', 'Gaze and camera', 'gaze']] : [];
    shell.styles().then(() => page.replaceChildren(h('ul.page.nav', {}, [...items, ...more].map(([ic, text, k]) => h('li', {}, h('a.listed', { href: `#/${k}` }, icon(ic), text))))));
  }, unmount() { page.replaceChildren(); } };
}

function mark(key) {
  const nav = key === 'stream' || key === 'empty' ? 'live' : key, tab = TABS.some((t) => t[2] === key) ? key : PARENT[key] || key;
  for (const a of document.querySelectorAll('[data-nav], [data-tab]')) {
    if (a.dataset.nav === nav || a.dataset.tab === tab) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
}

/* ---- keys ---- */
let goFirst = 0;
const GO = { l: 'live', t: 'tensors', c: 'compare', s: 'system' };
function onKey(e) {
  const ctrl = e.ctrlKey || e.metaKey;
  if (ctrl && e.key.toLowerCase() === 'k') { e.preventDefault(); return palette(); }
  const typing = e.target.matches?.('input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]');
  if (ctrl && e.key.toLowerCase() === 'z' && !typing) { if (!keymap.undo?.() && undoDelete()) shell.toast('live', 'Taken back', 'Nothing was deleted.'); return; }
  if (e.key === 'Escape' && !document.querySelector('dialog[open]') && !typing) { if (!keymap.Escape?.()) if (!location.hash.startsWith('#/live')) shell.go('#/live'); return; }
  if (typing || ctrl || e.altKey || document.querySelector('dialog[open]') || setting('keys') === 'off' || e.defaultPrevented) return;
  const own = e.target.matches?.('[role=slider], input[type=range]') && /^(Arrow|Page|Home|End)/.test(e.key);
  const button = e.key === ' ' && e.target.matches?.('button, a, summary, [role=button], [role=radio], [role=switch]');
  if (own || button) return;
  const k = e.key.length === 1 && !(e.shiftKey && e.key === 'R') ? e.key.toLowerCase() : e.key;
  if (goFirst && Date.now() - goFirst < 1000 && GO[k]) { goFirst = 0; e.preventDefault(); return shell.go(`#/${GO[k]}`); }
  goFirst = 0;
  const f = keymap[k] || GLOBAL[k];
  if (f && f(e) !== false) e.preventDefault();
}
const GLOBAL = {
  g() { goFirst = Date.now(); },
  t: toggleTheme,
  y() { shell.copy(location.href, 'Link copied'); },
  async '?'() { await shell.styles(); (await dialogs()).keysSheet(setting); },
};

/* ---- start ---- */
let asking = null;
api.onUnauthorized = () => {
  asking ||= (async () => { await shell.styles(); const t = await (await dialogs()).tokenDialog(); asking = null; if (t) { setToken(t.token, t.remember); announced = ''; if (!state.loaded) start(); } return Boolean(t); })();
  return asking;
};
frame();
drawConn();
on('link', drawConn);
on('rtt', drawConn);
on('server', drawServer);
/* Controls that this caller may not use disappear as soon as that is known. */
let scopes = 'write';
on('server', () => { const now = may('write') ? 'write' : 'read'; if (now !== scopes) { scopes = now; announced = ''; route(); } });
on('streams', drawServer);
on('event', () => bell.classList.toggle('unread', state.unread > 0));
on('failed', ({ what, error }) => shell.fail(what)(error));
on('restarted', ({ back, all, missing }) => shell.toast('warn', `Server restarted, ${back} of ${all} streams are back`, missing.length ? `Missing: ${missing.join(', ')}` : ''));
on('error', (m) => { if (!m.id && m.detail && !keymap.error?.(m)) shell.toast('err', m.stream || 'The server refused a message', m.detail); });
addEventListener('hashchange', route);
document.addEventListener('keydown', onKey);
addEventListener('ts-navigate', () => { announced = ''; route(); });
setInterval(() => { if (document.visibilityState !== 'hidden') loadServer().catch(() => {}); }, 5000);
start();
route();
shell.styles();
