/**
 * A page's two ways to the server: Api (requests, problems, tickets, events) and Link (the socket with its pictures).
 */
import { Painter } from './worker.js';

/** An error of the server: RFC 9457 members as properties. */
export class Problem extends Error {
  constructor(status, body = {}, retry_after) {
    super(body.detail || body.title || body.error || `HTTP ${status}`);
    this.name = 'Problem';
    this.status = status;
    this.code = body.code || '';
    this.title = body.title || '';
    this.body = body;
    this.retry_after_s = retry_after;
  }
}

async function problemOf(response) {
  let body = {};
  try { body = await response.json(); } catch { /* not JSON: the status says it */ }
  return new Problem(response.status, body, Number(response.headers.get('Retry-After')) || undefined);
}

export class Api {
  /** @param {string | URL} base the server's page, e.g. `http://127.0.0.1:8080/` */
  constructor(base, token = '') {
    this.base = String(base).replace(/[?#].*$/, '');
    if (!this.base.endsWith('/')) this.base = this.base.slice(0, this.base.lastIndexOf('/') + 1);
    this.token = token;
    this.onUnauthorized = null; /* async () => a new token, or '' to give up */
    this.tickets = new Map();
  }

  url(path) { return new URL(path.replace(/^\//, ''), this.base).href; }

  headers(more = {}) { return this.token ? { ...more, Authorization: `Bearer ${this.token}` } : more; }

  /** fetch that throws a Problem unless the answer is 2xx. */
  async fetch(path, init = {}) {
    const go = () => fetch(this.url(path), { ...init, headers: this.headers(init.headers) });
    let r = await go();
    if (r.status === 401 && this.onUnauthorized && (await this.onUnauthorized())) r = await go();
    if (!r.ok) throw await problemOf(r);
    return r;
  }

  /** Ask, with a JSON body where one is given, and read the JSON answer (null where there is none). */
  async json(method, path, body) {
    const init = { method };
    if (body !== undefined) Object.assign(init, { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
    const r = await this.fetch(path, init);
    const text = await r.text();
    return text ? JSON.parse(text) : null;
  }

  get(path) { return this.json('GET', path); }

  /**
   * Upload with progress. @param {(sent: number, total: number) => void} [onProgress] @param {AbortSignal} [signal]
   */
  upload(method, path, body, type, onProgress, signal) {
    return new Promise((resolve, reject) => {
      const x = new XMLHttpRequest();
      x.open(method, this.url(path));
      x.setRequestHeader('Content-Type', type);
      if (this.token) x.setRequestHeader('Authorization', `Bearer ${this.token}`);
      x.responseType = 'text';
      x.upload.onprogress = (e) => onProgress?.(e.loaded, e.total);
      x.onload = () => {
        let answer = null;
        try { answer = JSON.parse(x.response); } catch { /* empty */ }
        if (x.status >= 200 && x.status < 300) resolve(answer);
        else reject(new Problem(x.status, answer || {}, Number(x.getResponseHeader('Retry-After')) || undefined));
      };
      x.onerror = () => reject(new Error('The connection was lost while sending.'));
      x.onabort = () => reject(new DOMException('Cancelled.', 'AbortError'));
      signal?.addEventListener('abort', () => x.abort());
      x.send(body);
    });
  }

  /**
   * An address for an <img>, a download or a player. Without a token it is the plain address, else it carries a
   * ticket: for one use, or for everything below `under` until it runs out.
   */
  async address(path, under) {
    if (!this.token) return this.url(path);
    let ticket = under && this.tickets.get(under);
    if (!ticket || ticket.until < Date.now()) {
      const t = await this.json('POST', 'v1/tickets', under ? { path: `/${under}`, ttl_s: 3600 } : {});
      ticket = { ticket: t.ticket, until: Date.now() + (t.expires_in - 30) * 1000 };
      if (under) this.tickets.set(under, ticket);
    }
    const u = new URL(this.url(path));
    u.searchParams.set('ticket', ticket.ticket);
    return u.href;
  }

  /**
   * Server-sent events by fetch, so that the token travels in a header. Reconnects until the signal aborts.
   * @param {(e: any) => void} onEvent @param {AbortSignal} signal
   */
  async events(onEvent, signal, query = '') {
    let last = '';
    for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 15000)) {
      try {
        const headers = { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) };
        const r = await this.fetch(`v1/events${query}`, { headers, signal });
        wait = 500;
        const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let rest = ''; ;) {
          const { value, done } = await reader.read();
          if (done) break;
          const blocks = (rest + value).split(/\r?\n\r?\n/);
          rest = blocks.pop();
          for (const block of blocks) last = deliver(block, onEvent) || last;
        }
      } catch (e) {
        if (e.status === 404 || e.status === 403 || e.status === 501) return;
      }
      await new Promise((r) => setTimeout(r, wait));
    }
  }
}

function deliver(block, onEvent) {
  let id = '', data = '';
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith('id:')) id = line.slice(3).trim();
    else if (line.startsWith('data:')) data += line.slice(5).trimStart();
  }
  if (data) { try { onEvent(JSON.parse(data)); } catch { /* not ours */ } }
  return id;
}

/* A module worker of this origin, or null where the page's policy or a foreign origin forbids it. */
function makeWorker() {
  try {
    return new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'tensorscope' });
  } catch { return null; }
}

/** The page's side of worker.js. */
export class Link extends EventTarget {
  /** @param {{worker?: boolean}} [options] worker: false runs everything in the page */
  constructor(base, token, { worker = true } = {}) {
    super();
    this.shows = new Map();
    this.waiting = new Map();
    this.next = 1;
    this.state = 'opening';
    this.worker = worker && typeof OffscreenCanvas === 'function' ? makeWorker() : null;
    if (this.worker) this.worker.onmessage = (e) => this.receive(e.data);
    else this.painter = new Painter((m) => this.receive(m));
    this.post({ op: 'start', base, token });
    this.onVisible = () => this.post({ op: 'visible', value: document.visibilityState !== 'hidden' });
    this.onOnline = () => this.post({ op: 'kick' });
    document.addEventListener('visibilitychange', this.onVisible);
    addEventListener('online', this.onOnline);
  }

  post(message, transfer = []) { if (this.worker) this.worker.postMessage(message, transfer); else this.painter.receive(message); }

  receive(m) {
    if (m.ev === 'frame') return this.shows.get(m.key)?.onFrame?.(m);
    if (m.ev === 'reply') {
      const w = this.waiting.get(m.rid);
      this.waiting.delete(m.rid);
      if (m.error) w?.reject(Object.assign(new Error(m.error.detail), m.error));
      else w?.resolve(m.reply);
      return;
    }
    if (m.ev === 'state') { this.state = m.state; this.lost = m; }
    if (m.ev === 'rtt') this.rtt_ms = m.ms;
    this.dispatchEvent(new CustomEvent(m.ev, { detail: m.ev === 'text' ? m.message : m }));
  }

  /**
   * Show a stream on a canvas. `every`: how often, in ms, onFrame wants to hear of frames.
   * @returns {{key: number, options: (o: object) => void, freeze: (v: boolean) => void, close: () => void}}
   */
  show(stream, canvas, { options = {}, every = 0, onFrame } = {}) {
    const key = this.next++;
    this.shows.set(key, { onFrame });
    const target = this.worker ? canvas.transferControlToOffscreen() : canvas;
    this.post({ op: 'show', key, stream, canvas: target, options, every }, this.worker ? [target] : []);
    return {
      key,
      options: (o) => this.post({ op: 'options', key, options: o }),
      freeze: (value) => this.post({ op: 'freeze', key, value }),
      close: () => { this.shows.delete(key); this.post({ op: 'hide', key }); },
    };
  }

  send(stream, message) { this.post({ op: 'send', message: { ...message, stream } }); }

  /** @returns {Promise<any>} */
  request(stream, message) {
    const rid = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(rid, { resolve, reject });
      this.post({ op: 'request', rid, message: { ...message, stream } });
    });
  }

  push(header, payload) { this.post({ op: 'push', header, payload }, payload?.buffer ? [payload.buffer] : []); }

  close() {
    document.removeEventListener('visibilitychange', this.onVisible);
    removeEventListener('online', this.onOnline);
    this.post({ op: 'stop' });
  }
}
