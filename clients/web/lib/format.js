/** Sizes, times and the lines of code that do the same as a control. */
import { group } from './h.js';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Binary units, three digits. */
export function bytes(n) {
  if (typeof n !== 'number') return '–';
  let i = 0;
  while (n >= 1024 && i < UNITS.length - 1) { n /= 1024; i++; }
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)} ${UNITS[i]}`;
}

export const ms = (v) => (typeof v === 'number' ? v.toFixed(v >= 100 ? 0 : 1) : '–');

export const count = (v) => (typeof v === 'number' ? group(v) : '–');

/** Seconds as 02:14 or 1:02:14. */
export function clock(s) {
  s = Math.max(0, Math.floor(s || 0));
  const p = (v) => String(v).padStart(2, '0'), hh = Math.floor(s / 3600);
  return `${hh ? `${hh}:` : ''}${p(Math.floor(s / 60) % 60)}:${p(s % 60)}`;
}

/** Up to an hour "12 min ago", then the time of day. */
export function when(t) {
  const s = Date.now() / 1000 - t;
  if (s < 60) return `${Math.max(0, Math.floor(s))} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return new Date(t * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

export const timeOfDay = (t) => new Date(t * 1000).toLocaleTimeString('en-GB');

export const shape = (s) => `[${(s || []).join(',')}]`;

/** One argument of a POSIX shell. */
export const quote = (s) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replace(/'/g, `'\\''`)}'`);

/** A request as a curl line. */
export function curl(method, url, body, token) {
  const parts = ['curl'];
  if (method !== 'GET') parts.push('-X', method);
  if (token) parts.push('-H', quote('Authorization: Bearer $TOKEN'));
  if (body !== undefined) parts.push('-H', quote('Content-Type: application/json'), '-d', quote(JSON.stringify(body)));
  parts.push(quote(url));
  return parts.join(' ');
}
