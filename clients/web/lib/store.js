/** What all pages share: the server, its streams, the socket, events, settings and what the caller may do. */
import { Api, Link } from '../js/api.js';

const read = (k) => { try { return sessionStorage.getItem(k) || localStorage.getItem(k) || ''; } catch { return ''; } };
const write = (k, v, area = 'localStorage') => { try { if (v) globalThis[area].setItem(k, v); else globalThis[area].removeItem(k); } catch { /* private mode */ } };

export const api = new Api(document.baseURI, read('ts.token'));

/** A setting of this browser. */
export const setting = (k, v) => (v === undefined ? read(`ts.${k}`) : write(`ts.${k}`, v));

export const state = {
  streams: [], /* as GET /v1/streams gives them, in the order of the wall */
  loaded: false,
  server: null,
  metrics: new Map(), /* stream → last metrics message and when */
  events: [],
  unread: 0,
  rtt_ms: null,
  link: 'opening',
  lost: null,
  demo: 0,
};

const bus = new EventTarget();
/** Listen for a change; returns the function that ends it. */
export function on(name, fn) {
  const f = (e) => fn(e.detail);
  bus.addEventListener(name, f);
  return () => bus.removeEventListener(name, f);
}
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

/**
 * The socket, opened before anything else is asked for. The page's policy has no trusted type for a worker's
 * address, so a browser that enforces trusted types runs the data path in the page.
 */
export const link = new Link(api.base, api.token, { worker: !globalThis.trustedTypes });
link.addEventListener('state', (e) => {
  state.link = e.detail.state;
  state.lost = e.detail;
  emit('link');
  if (e.detail.state === 'open' && state.loaded) afterReconnect();
});
link.addEventListener('rtt', (e) => { state.rtt_ms = e.detail.ms; emit('rtt'); });
link.addEventListener('refused', (e) => { if (e.detail.status === 401) api.onUnauthorized?.(); });
link.addEventListener('text', ({ detail: m }) => {
  if (m.type === 'metrics' && m.stream) state.metrics.set(m.stream, { ...m, at: Date.now() });
  emit(m.type, m);
});

/** Take a token from now on; remembered for the tab, or for the device. */
export function setToken(t, remember) {
  api.token = t;
  api.tickets.clear();
  write('ts.token', '', 'localStorage');
  write('ts.token', '', 'sessionStorage');
  if (t) write('ts.token', t, remember ? 'localStorage' : 'sessionStorage');
  link.post({ op: 'token', token: t });
}

/** Whether the caller has a scope; unknown counts as yes, the server decides. */
export const may = (scope) => !state.server?.scopes || state.server.scopes.includes(scope);

/* ---- streams ---- */
const ORDER = 'order';

function ordered(list) {
  const order = setting(ORDER).split(' '), at = new Map(order.map((n, i) => [n, i]));
  const rank = (s) => at.get(s.name) ?? 1e6;
  return list.map((s, i) => [s, i]).sort((a, b) => rank(a[0]) - rank(b[0]) || a[1] - b[1]).map(([s]) => s);
}

/** Put a stream before another on the wall, and remember it. */
export function moveStream(name, before) {
  const list = state.streams.filter((s) => s.name !== name), i = list.findIndex((s) => s.name === before);
  const moved = state.streams.find((s) => s.name === name);
  list.splice(i < 0 ? list.length : i, 0, moved);
  state.streams = list;
  setting(ORDER, list.map((s) => s.name).join(' '));
  emit('streams');
}

export async function loadStreams() {
  const { streams } = await api.get('v1/streams');
  const ended = state.streams.filter((s) => s.ended && !streams.some((t) => t.name === s.name));
  state.streams = [...ordered(streams), ...ended];
  state.loaded = true;
  emit('streams');
}

export const streamOf = (name) => state.streams.find((s) => s.name === name);

let reload = 0;
/** Read the list again soon; many calls make one. */
export function refreshStreams() {
  clearTimeout(reload);
  reload = setTimeout(() => loadStreams().catch(() => {}), 150);
}

/* ---- deletion with undo: the request goes out when the time to undo is over ---- */
const doomed = new Map();
export function deleteLater(kind, name, ms = 8000) {
  const key = `${kind}/${name}`;
  const go = async () => {
    doomed.delete(key);
    try { await api.json('DELETE', `v1/${kind}/${encodeURIComponent(name)}`); } catch (e) { emit('failed', { what: `${name} was not deleted`, error: e }); }
    emit('changed', { kind });
    if (kind === 'streams') refreshStreams();
  };
  doomed.set(key, { timer: setTimeout(go, ms), go });
  emit('changed', { kind });
  return () => { clearTimeout(doomed.get(key)?.timer); doomed.delete(key); emit('changed', { kind }); };
}
export const isDoomed = (kind, name) => doomed.has(`${kind}/${name}`);
/** Ctrl+Z: take the last deletion back. */
export function undoDelete() {
  const key = [...doomed.keys()].pop();
  if (!key) return false;
  clearTimeout(doomed.get(key).timer);
  doomed.delete(key);
  emit('changed', { kind: key.split('/')[0] });
  return true;
}

/* ---- streams that live as long as a page of this tab ---- */
const passing = new Set();
export async function passingStream(name, body) {
  await api.json('PUT', `v1/streams/${name}`, body);
  passing.add(name);
}
export function dropPassing(name) {
  if (passing.delete(name)) api.json('DELETE', `v1/streams/${name}`).then(refreshStreams, () => {});
}
addEventListener('pagehide', () => { for (const n of passing) fetch(api.url(`v1/streams/${n}`), { method: 'DELETE', keepalive: true, headers: api.headers() }); });

/* ---- server and events ---- */
export async function loadServer() {
  const server = await api.get('v1/server');
  const before = state.server;
  state.server = server;
  emit('server');
  return before && server.uptime_s !== undefined && server.uptime_s < before.uptime_s;
}

async function afterReconnect() {
  const before = state.streams.filter((s) => !s.ended).map((s) => s.name);
  const restarted = await loadServer().catch(() => false);
  await loadStreams().catch(() => {});
  if (!restarted) return;
  const missing = before.filter((n) => !streamOf(n) || streamOf(n).ended);
  emit('restarted', { back: before.length - missing.length, all: before.length, missing });
}

const EVENTS_KEPT = 256;
function onEvent(e) {
  /* A tensor that changes is what this page is about, not news. */
  if (e.kind !== 'tensor' || e.event !== 'changed') {
    state.events.unshift(e);
    state.events.length = Math.min(state.events.length, EVENTS_KEPT);
    state.unread++;
  }
  if (e.kind === 'stream') {
    const s = streamOf(e.name);
    if (e.event === 'deleted' && s) { s.ended = Date.now(); emit('streams'); } else refreshStreams();
  }
  emit('event', e);
}

/** Begin to follow the server; called once. */
export function start() {
  loadStreams().catch((e) => emit('failed', { what: 'The list of streams did not come', error: e }));
  loadServer().catch(() => {});
  api.events(onEvent, new AbortController().signal);
}
