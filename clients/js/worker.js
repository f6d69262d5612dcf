/**
 * The data path of a page: one socket, decode, draw and acknowledge. Runs in a worker; where the page's
 * policy allows none (trusted types refuse every worker address), the same code runs in the page, and only
 * the decoding, which createImageBitmap does on its own threads, is off the main thread.
 * The page sends {op, …} messages (see Link in api.js) and gets {ev, …} back.
 */
import { Session } from './socket.js';

const TRIAL_FRAMES = 8;
const LINGER_MS = 300; /* a page change shows the same stream again at once: keep the subscription */
const HIDDEN_MS = 1000;


/* ---- decoding: createImageBitmap, or ImageDecoder where a trial shows it to be faster ---- */
const trial = { n: 0, bitmap: 0, decoder: 0, use: typeof ImageDecoder === 'function' ? '' : 'bitmap' };
const MIME = { webp: 'image/webp', 'webp-lossless': 'image/webp', png: 'image/png', jpeg: 'image/jpeg' };
const OPTIONS = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };

function rawBitmap(header, payload) {
  const px = new Uint8ClampedArray(header.width * header.height * 4).fill(255);
  for (let i = 0, o = 0; i + 2 < payload.length; i += 3, o += 4) {
    px[o] = payload[i]; px[o + 1] = payload[i + 1]; px[o + 2] = payload[i + 2];
  }
  return createImageBitmap(new ImageData(px, header.width, header.height));
}

async function byDecoder(bytes, type) {
  const decoder = new ImageDecoder({ data: bytes, type, colorSpaceConversion: 'none' });
  try {
    const { image } = await decoder.decode();
    try { return await createImageBitmap(image, OPTIONS); } finally { image.close(); }
  } finally { decoder.close(); }
}

const byBitmap = (bytes, type) => createImageBitmap(new Blob([bytes], { type }), OPTIONS);

async function decodeBytes(bytes, type) {
  if (trial.use) return trial.use === 'decoder' ? byDecoder(bytes, type) : byBitmap(bytes, type);
  const way = trial.n++ % 2 ? 'decoder' : 'bitmap', start = performance.now();
  try {
    return await (way === 'decoder' ? byDecoder : byBitmap)(bytes, type);
  } catch (e) {
    if (way !== 'decoder') throw e;
    trial.use = 'bitmap';
    return byBitmap(bytes, type);
  } finally {
    trial[way] += performance.now() - start;
    if (trial.n >= TRIAL_FRAMES && !trial.use) trial.use = trial.decoder < trial.bitmap * 0.9 ? 'decoder' : 'bitmap';
  }
}

function decode(header, payload) {
  if (header.codec === 'raw') return rawBitmap(header, payload);
  const type = MIME[header.codec];
  if (!type) throw new Error(`unknown codec ${header.codec}`);
  return decodeBytes(payload, type);
}

/* ---- drawing ---- */
async function drawOn(show, bitmap, last) {
  const copy = last ? bitmap : await createImageBitmap(bitmap);
  show.context ||= show.canvas.getContext(show.options.delta ? '2d' : 'bitmaprenderer');
  if (show.canvas.width !== copy.width || show.canvas.height !== copy.height) {
    show.canvas.width = copy.width;
    show.canvas.height = copy.height;
  }
  if (!show.options.delta) return show.context.transferFromImageBitmap(copy);
  show.context.drawImage(copy, 0, 0);
  copy.close();
}

async function drawKey(s, header, payload) {
  const bitmap = await decode(header, payload);
  const shows = [...s.shows.values()].filter((w) => !w.frozen);
  if (!shows.length) return bitmap.close();
  for (let i = 0; i < shows.length; i++) await drawOn(shows[i], bitmap, i === shows.length - 1);
}

/** One socket and everything that is shown from it. */
export class Painter {
  /** @param {(message: any) => void} post */
  constructor(post) {
    this.post = post;
    this.base = this.token = '';
    this.hidden = false;
    this.streams = new Map(); /* name → {shows, queue, busy, last, seq, drawn, dropped} */
  }

  receive(m) { this[`on_${m.op}`]?.(m); }

  async drawDelta(s, header, payload) {
    if (header.base !== s.seq) {
      this.session.send({ type: 'keyframe', stream: header.stream });
      return false;
    }
    const { applyDelta } = await import('./delta.js');
    for (const show of s.shows.values())
      if (show.context && !show.frozen) await applyDelta(show.context, header, payload, (b) => decodeBytes(b, 'image/webp'));
    return true;
  }

  async work(s, frame) {
    const { header, payload } = frame, start = performance.now();
    let drawn = true, problem;
    try {
      if (header.rects) drawn = await this.drawDelta(s, header, payload);
      else await drawKey(s, header, payload);
    } catch (e) {
      drawn = false;
      problem = e.message;
    }
    const now = performance.now();
    if (drawn) { s.seq = header.seq; s.drawn++; }
    if (!frame.again) this.session.ack(header, now - start);
    for (const show of s.shows.values()) this.tell(show, s, header, frame, now, start, problem);
  }

  /* Tiles hear of a frame a few times a second, the focus view of each. */
  tell(show, s, header, frame, now, start, problem) {
    const size = `${header.width}x${header.height}`;
    if (show.told && now - show.told < show.every && size === show.size && !problem) return;
    show.told = now;
    show.size = size;
    this.post({ ev: 'frame', key: show.key, header, bytes: frame.payload.length, decode_ms: now - start,
      lag_ms: now - frame.at, drawn: s.drawn, dropped: s.dropped, problem });
  }

  async pump(s) {
    if (s.busy) return;
    s.busy = true;
    while (s.queue.length) await this.work(s, s.queue.shift());
    s.busy = false;
  }

  onFrame(header, payload) {
    const s = this.streams.get(header.stream);
    if (!s) return this.session.ack(header);
    /* One decode runs and one frame waits: the newest wins. Deltas build on each other and are kept. */
    if (s.queue.length && !header.rects) {
      for (const old of s.queue) if (!old.again) { this.session.ack(old.header); s.dropped++; }
      s.queue.length = 0;
    }
    if (!header.rects) s.last = { header, payload };
    s.queue.push({ header, payload, at: performance.now() });
    this.pump(s);
  }

  on_show({ key, stream, canvas, options = {}, every = 0 }) {
    let s = this.streams.get(stream);
    if (!s) this.streams.set(stream, s = { shows: new Map(), queue: [], busy: false, seq: -1, drawn: 0, dropped: 0 });
    clearTimeout(s.linger);
    const known = this.session.subs.has(stream);
    s.shows.set(key, { key, canvas, options, every, context: null });
    this.session.subscribe(stream, combined(s));
    if (known && s.last) { s.queue.push({ ...s.last, at: performance.now(), again: true }); this.pump(s); }
    if (this.hidden) this.session.socket.send({ type: 'pause', stream });
  }

  on_hide({ key }) {
    for (const [stream, s] of this.streams) {
      if (!s.shows.delete(key)) continue;
      clearTimeout(s.linger);
      if (s.shows.size) this.session.subscribe(stream, combined(s));
      else s.linger = setTimeout(() => { this.session.unsubscribe(stream); this.streams.delete(stream); }, LINGER_MS);
    }
  }

  on_options({ key, options }) {
    for (const [stream, s] of this.streams) {
      const w = s.shows.get(key);
      if (!w) continue;
      w.options = { ...w.options, ...options };
      this.session.subscribe(stream, combined(s));
    }
  }

  on_freeze({ key, value }) {
    for (const s of this.streams.values()) { const w = s.shows.get(key); if (w) w.frozen = value; }
  }

  /* A page that nobody sees gets no frames after a second, and the newest as a whole when it is seen again. */
  on_visible({ value }) {
    clearTimeout(this.hideTimer);
    if (!value) {
      this.hideTimer = setTimeout(() => {
        this.hidden = true;
        for (const [stream, sub] of this.session.subs) if (!sub.paused) this.session.socket.send({ type: 'pause', stream });
      }, HIDDEN_MS);
      return;
    }
    this.session.socket.kick();
    if (!this.hidden) return;
    this.hidden = false;
    for (const [stream, sub] of this.session.subs) {
      if (sub.paused) continue;
      this.session.socket.send({ type: 'live', stream });
      this.session.socket.send({ type: 'keyframe', stream });
    }
  }

  on_start(m) {
    this.base = m.base;
    this.token = m.token || '';
    this.session = new Session({
      url: () => this.url(), onFrame: (header, payload) => this.onFrame(header, payload),
      onText: (message) => this.post({ ev: 'text', message }),
      onState: (state) => this.post({ ev: 'state', ...state }), onRtt: (ms) => this.post({ ev: 'rtt', ms }),
    });
  }

  /** The socket's address; with a token it carries a fresh ticket. */
  async url() {
    const url = new URL('v1/ws', this.base);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    if (!this.token) return url.href;
    const r = await fetch(new URL('v1/tickets', this.base), {
      method: 'POST', headers: { Authorization: `Bearer ${this.token}`, 'Content-Type': 'application/json' }, body: '{}',
    });
    if (!r.ok) { this.post({ ev: 'refused', status: r.status }); throw new Error(`no ticket: ${r.status}`); }
    url.searchParams.set('ticket', (await r.json()).ticket);
    return url.href;
  }

  on_token(m) { this.token = m.token || ''; this.session.socket.kick(); }

  on_kick() { this.session.socket.kick(); }

  on_send({ message }) { this.session.send(message); }

  on_request({ rid, message }) {
    this.session.request(message).then((reply) => this.post({ ev: 'reply', rid, reply }),
      (e) => this.post({ ev: 'reply', rid, error: { code: e.code, detail: e.detail || e.message } }));
  }

  on_push({ header, payload }) { this.session.push(header, payload); }

  on_stop() {
    clearTimeout(this.hideTimer);
    this.session.close();
  }
}

/* Two pictures of one stream share a subscription that satisfies both. */
function combined(s) {
  const out = { scale: 0, max_fps: 0 };
  for (const { options } of s.shows.values()) {
    out.scale = Math.max(out.scale, options.scale ?? 1);
    out.max_fps = Math.max(out.max_fps, options.max_fps ?? 60);
    for (const k of ['quality', 'tier', 'delta']) if (options[k] !== undefined) out[k] = options[k];
  }
  return out;
}

/* In a worker: serve the page that made it. */
if (typeof WorkerGlobalScope !== 'undefined' && self instanceof WorkerGlobalScope) {
  const painter = new Painter((message) => self.postMessage(message));
  self.onmessage = (e) => {
    painter.receive(e.data);
    if (e.data.op === 'stop') self.close();
  };
}
