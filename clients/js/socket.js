/**
 * One WebSocket of the protocol tensorscope.v1 that comes back by itself, and on it a session:
 * subscriptions with their own view, pause point and quality, restored after every reconnect.
 */
import { decodeFrame, encodeFrame } from './frame.js';

const SILENCE_MS = 4000; /* the server speaks once a second whatever else happens */
const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 8000, 15000];
const REQUEST_MS = 10000;

/** How long to wait before attempt `n` (from 0), with ±20 % jitter. */
export const backoff = (n, random = Math.random) =>
  BACKOFF_MS[Math.min(n, BACKOFF_MS.length - 1)] * (0.8 + 0.4 * random());

/**
 * A reconnecting WebSocket. `url()` is asked anew before every attempt, because a ticket is good for one.
 */
export class Socket {
  /**
   * @param {{url: () => Promise<string>|string, onText: (m: any) => void, onBinary: (d: ArrayBuffer) => void,
   *          onState?: (s: {state: string, retry_ms?: number, attempt?: number, reason?: string}) => void,
   *          WebSocket?: any}} options
   */
  constructor(options) {
    this.options = options;
    this.attempt = 0;
    this.state = 'idle';
    this.closed = false;
  }

  async open() {
    if (this.closed || this.state === 'opening' || this.state === 'open') return;
    clearTimeout(this.retry);
    this.state = 'opening';
    let url;
    try {
      url = await this.options.url();
    } catch (e) {
      return this.lost(/** @type {Error} */ (e).message);
    }
    if (this.closed) return;
    const Ws = this.options.WebSocket || globalThis.WebSocket;
    const ws = new Ws(url, ['tensorscope.v1']);
    ws.binaryType = 'arraybuffer';
    this.ws = ws;
    ws.onopen = () => {
      if (ws !== this.ws) return;
      this.state = 'open';
      this.attempt = 0;
      this.heard();
      this.watch = setInterval(() => this.check(), 500);
      this.options.onState?.({ state: 'open' });
    };
    ws.onmessage = (e) => {
      if (ws !== this.ws) return;
      this.heard();
      if (typeof e.data !== 'string') return this.options.onBinary(e.data);
      let message;
      try { message = JSON.parse(e.data); } catch { return; }
      if (message && typeof message === 'object') this.options.onText(message);
    };
    ws.onclose = (e) => { if (ws === this.ws) this.lost(e.reason || `closed ${e.code}`); };
    ws.onerror = () => {}; /* close follows with the reason */
  }

  heard() { this.last = Date.now(); }

  check() {
    if (Date.now() - this.last <= SILENCE_MS) return;
    const ws = this.ws;
    this.lost('no word from the server for 4 s');
    try { ws.close(); } catch { /* it is gone already */ }
  }

  lost(reason) {
    clearInterval(this.watch);
    this.ws = null;
    if (this.closed) return;
    this.state = 'lost';
    const wait = backoff(this.attempt++);
    this.options.onState?.({ state: 'lost', retry_ms: wait, attempt: this.attempt, reason });
    this.retry = setTimeout(() => this.open(), wait);
  }

  /** Try now: the network came back or the page became visible. */
  kick() {
    if (this.state !== 'lost') return;
    this.attempt = 0;
    this.open();
  }

  /** Whether the data went out. */
  send(data) {
    if (this.state !== 'open' || this.ws.readyState !== 1) return false;
    this.ws.send(typeof data === 'string' || ArrayBuffer.isView(data) ? data : JSON.stringify(data));
    return true;
  }

  close() {
    this.closed = true;
    this.state = 'closed';
    clearTimeout(this.retry);
    clearInterval(this.watch);
    const ws = this.ws;
    this.ws = null;
    try { ws?.close(1000); } catch { /* not open yet */ }
  }
}

/** Subscriptions and requests over one socket at `/v1/ws`. */
export class Session {
  /** @param {ConstructorParameters<typeof Socket>[0] & {onFrame: Function, onState: Function}} options */
  constructor(options) {
    this.options = options;
    this.subs = new Map();
    this.requests = new Map();
    this.nextId = 1;
    this.rtt_ms = null;
    this.socket = new Socket({
      ...options,
      onText: (m) => this.text(m),
      onBinary: (d) => this.binary(d),
      onState: (s) => this.stateChanged(s),
    });
    this.socket.open();
  }

  stateChanged(s) {
    if (s.state === 'open') {
      for (const [stream, sub] of this.subs) this.restore(stream, sub);
      this.pinger = setInterval(() => this.ping(), 2000);
      this.ping();
    } else {
      clearInterval(this.pinger);
      for (const [, r] of this.requests) r.fail(new Error('the connection was lost'));
    }
    this.options.onState?.(s);
  }

  restore(stream, sub) {
    this.socket.send({ type: 'subscribe', stream, ...sub.options });
    if (sub.view) this.socket.send({ type: 'view', stream, view: sub.view, scope: 'me' });
    if (sub.point) this.socket.send({ stream, ...sub.point });
    else if (sub.paused) this.socket.send({ type: 'pause', stream });
  }

  ping() {
    const sent = performance.now();
    this.request({ type: 'ping' }).then(() => {
      this.rtt_ms = performance.now() - sent;
      this.options.onRtt?.(this.rtt_ms);
    }, () => {});
  }

  text(m) {
    const waiting = m.id !== undefined && this.requests.get(m.id);
    if (waiting) {
      if (m.type === 'error') waiting.fail(Object.assign(new Error(m.detail || m.code), m));
      else waiting.done(m);
    }
    this.options.onText(m);
  }

  binary(data) {
    let frame;
    try {
      frame = decodeFrame(data);
    } catch (e) {
      this.options.onText({ type: 'error', code: 'bad-frame', detail: /** @type {Error} */ (e).message });
      return;
    }
    this.options.onFrame(frame.header, frame.payload);
  }

  /** Subscribe, or change the options of a subscription. */
  subscribe(stream, options = {}) {
    const sub = this.subs.get(stream);
    if (sub && JSON.stringify(sub.options) === JSON.stringify(options)) return;
    if (sub) {
      sub.options = options;
      this.socket.send({ type: 'output', stream, scope: 'me', output: options });
      return;
    }
    this.subs.set(stream, { options, view: null, paused: false, point: null });
    this.socket.send({ type: 'subscribe', stream, ...options });
  }

  unsubscribe(stream) {
    if (this.subs.delete(stream)) this.socket.send({ type: 'unsubscribe', stream });
  }

  /** Send a message about a stream and remember what a reconnect has to restore. */
  send(message) {
    const sub = this.subs.get(message.stream);
    if (sub) remember(sub, message);
    return this.socket.send(message);
  }

  /** Send and wait for the reply with the same id. @returns {Promise<any>} */
  request(message, timeout_ms = REQUEST_MS) {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const end = (f) => (v) => { clearTimeout(timer); this.requests.delete(id); f(v); };
      const entry = { done: end(resolve), fail: end(reject) };
      const timer = setTimeout(() => entry.fail(new Error('no answer')), timeout_ms);
      this.requests.set(id, entry);
      if (!this.send({ ...message, id })) entry.fail(new Error('not connected'));
    });
  }

  ack(header, decode_ms) {
    if (!this.subs.has(header.stream)) return; /* it was on its way when the subscription ended */
    const ack = { type: 'ack', stream: header.stream, seq: header.seq, t: header.t };
    if (decode_ms !== undefined) ack.decode_ms = Math.round(decode_ms * 100) / 100;
    this.socket.send(ack);
  }

  /** A tensor, a pushed frame or a latent. */
  push(header, payload) { return this.socket.send(encodeFrame(header, payload)); }

  close() {
    clearInterval(this.pinger);
    for (const [, r] of this.requests) r.fail(new Error('closed'));
    this.socket.close();
  }
}

/** Keep what a message means for the time after a reconnect. */
function remember(sub, m) {
  if (m.type === 'view' && m.scope !== 'all') sub.view = mergeKeepNull(sub.view, m.view);
  else if (m.type === 'pause') sub.paused = true;
  else if (m.type === 'resume' || m.type === 'live') { sub.paused = false; sub.point = null; }
  else if (m.type === 'seek') { const { id, ...point } = m; sub.paused = true; sub.point = point; }
}

/* A patch may delete keys of the stream's own view: null has to survive until it is sent again. */
function mergeKeepNull(a, b) {
  const out = { ...a };
  for (const [k, v] of Object.entries(b)) {
    const deep = v && typeof v === 'object' && !Array.isArray(v) && k !== 'colormap' && out[k] && typeof out[k] === 'object';
    out[k] = deep ? mergeKeepNull(out[k], v) : v;
  }
  return out;
}

