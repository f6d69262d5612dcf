/**
 * The client of a tensorscope server. Runs in a browser and in Node; `<tensor-view>` exists where there is a DOM.
 *
 *   import { connect } from './index.js';
 *   const scope = connect('http://127.0.0.1:8080/');
 *   await scope.put('w', new Float32Array(64 * 64), { shape: [64, 64], step: 1 });
 *   await scope.api.json('PUT', 'v1/streams/w', { source: { tensor: 'w' } });
 *   for await (const frame of scope.stream('w').frames()) console.log(frame.header.seq);
 */
import { Api, Link, Problem } from './api.js';
import { decodeFrame, dtypeOf, encodeFrame } from './frame.js';
import { Session, Socket } from './socket.js';
import { diff, flatten, mergePatch, toQuery, unflatten } from './view.js';

export { Api, Link, Problem, Session, Socket, decodeFrame, diff, dtypeOf, encodeFrame, flatten, mergePatch, toQuery, unflatten };

if (globalThis.HTMLElement) await import('./tensor-view.js');

const bytesOf = (data) => (ArrayBuffer.isView(data)
  ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data));

/** One stream as a subscriber sees it. */
class Stream {
  constructor(scope, name, options) {
    this.scope = scope;
    this.name = name;
    this.readers = new Set();
    scope.session.subscribe(name, options);
  }

  /** Frames as they arrive; each is acknowledged when the next is asked for. A slow reader gets the newest. */
  async* frames() {
    const reader = { frame: null, wake: null };
    this.readers.add(reader);
    try {
      while (!this.scope.closed) {
        if (!reader.frame) await new Promise((wake) => { reader.wake = wake; });
        const frame = reader.frame;
        reader.frame = null;
        if (!frame) continue;
        yield frame;
        this.scope.session.ack(frame.header);
      }
    } finally { this.readers.delete(reader); }
  }

  deliver(frame) {
    if (!this.readers.size) this.scope.session.ack(frame.header);
    for (const r of this.readers) {
      if (r.frame) this.scope.session.ack(r.frame.header); /* passed over */
      r.frame = frame;
      r.wake?.();
      r.wake = null;
    }
  }

  send(message) { return this.scope.session.send({ ...message, stream: this.name }); }

  request(message) { return this.scope.session.request({ ...message, stream: this.name }); }

  view(patch, scope = 'me') { return this.request({ type: 'view', view: patch, scope }); }

  output(patch) { return this.request({ type: 'output', output: patch }); }

  probe(x, y) { return this.request({ type: 'probe', x, y }); }

  pause() { return this.send({ type: 'pause' }); }

  resume() { return this.send({ type: 'resume' }); }

  live() { return this.send({ type: 'live' }); }

  seek(point) { return this.send({ type: 'seek', ...(typeof point === 'number' ? { step: point } : point) }); }

  latent(z, id) { return this.send({ type: 'latent', z: Array.from(z), ...(id !== undefined && { id }) }); }

  /** Push a frame into a `{"push": true}` stream. */
  push(array, { shape, step, t = Date.now() / 1000, dtype = dtypeOf(array), encoding } = {}) {
    const header = { type: 'frame', stream: this.name, step, t, ...(encoding ? { encoding } : { dtype, shape }) };
    return this.scope.session.push(header, array);
  }

  metrics() { return this.scope.api.get(`v1/streams/${this.name}/metrics`); }

  record(options = {}) { return this.scope.api.json('POST', `v1/streams/${this.name}/recordings`, { format: 'webp', ...options }); }

  close() {
    this.scope.session.unsubscribe(this.name);
    this.scope.streams.delete(this.name);
    for (const r of this.readers) r.wake?.();
  }
}

class Scope extends EventTarget {
  constructor(url, options = {}) {
    super();
    this.api = new Api(url, options.token);
    this.streams = new Map();
    this.closed = false;
    this.session = new Session({
      WebSocket: options.WebSocket,
      url: () => this.socketUrl(),
      onFrame: (header, payload) => this.streams.get(header.stream)?.deliver(
        { header, payload, seq: header.seq, step: header.step, width: header.width, height: header.height }),
      onText: (m) => this.emit(m.type, m),
      onState: (s) => this.emit('state', s),
    });
  }

  emit(type, detail) { this.dispatchEvent(Object.assign(new Event(type), { detail })); }

  async socketUrl() {
    const url = new URL(this.api.url('v1/ws'));
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    if (this.api.token) url.searchParams.set('ticket', (await this.api.json('POST', 'v1/tickets', {})).ticket);
    return url.href;
  }

  /** Subscribe to a stream. */
  stream(name, options = {}) {
    let s = this.streams.get(name);
    if (!s) this.streams.set(name, s = new Stream(this, name, options));
    return s;
  }

  /** Create or replace a tensor. */
  async put(name, array, { shape = [array.length], dtype = dtypeOf(array), step, t, run } = {}) {
    const query = toQuery({ dtype, step, t, run });
    const r = await this.api.fetch(`v1/tensors/${name}?${query}&shape=${shape.join(',')}`, {
      method: 'PUT', headers: { 'Content-Type': 'application/octet-stream' }, body: bytesOf(array),
    });
    return r.json();
  }

  close() {
    this.closed = true;
    for (const s of [...this.streams.values()]) s.close();
    this.session.close();
  }
}

/**
 * Connect to a server. Returns at once; the socket opens and comes back by itself.
 * @param {string | URL} url @param {{token?: string, WebSocket?: any}} [options]
 */
export const connect = (url, options) => new Scope(url, options);
