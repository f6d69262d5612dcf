/**
 * `<tensor-view stream="demo" src="http://host:8080/" colormap="magma" token="…">`: a live picture in any page.
 * Attributes other than stream, src, token, quality, max-fps and scale are view keys (dots allowed).
 */
import { Link } from './api.js';
import { parseValue, unflatten } from './view.js';

const OWN = new Set(['stream', 'src', 'token', 'quality', 'max-fps', 'scale', 'class', 'id', 'style', 'title', 'slot', 'hidden', 'role']);
const links = new Map(); /* one socket per server and page, however many elements */

function linkFor(base, token) {
  const key = `${base} ${token}`;
  let entry = links.get(key);
  if (!entry) links.set(key, entry = { link: new Link(base, token), users: 0 });
  entry.users++;
  return { link: entry.link, release: () => { if (--entry.users === 0) { entry.link.close(); links.delete(key); } } };
}

const Base = globalThis.HTMLElement || class {};

export class TensorView extends Base {
  static observedAttributes = ['stream', 'src', 'token'];

  connectedCallback() { this.start(); }

  disconnectedCallback() { this.stop(); }

  attributeChangedCallback() { if (this.isConnected && this.shown) { this.stop(); this.start(); } }

  start() {
    const stream = this.getAttribute('stream');
    if (!stream) return;
    const base = new URL(this.getAttribute('src') || '.', document.baseURI).href;
    this.handle = linkFor(base, this.getAttribute('token') || '');
    const canvas = document.createElement('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${stream}, live picture`);
    canvas.style.maxWidth = '100%';
    canvas.style.display = 'block';
    this.replaceChildren(canvas);
    const options = {};
    for (const [attribute, key] of [['quality', 'quality'], ['max-fps', 'max_fps'], ['scale', 'scale']])
      if (this.hasAttribute(attribute)) options[key] = parseValue(this.getAttribute(attribute));
    this.shown = this.handle.link.show(stream, canvas, {
      options, onFrame: (f) => this.dispatchEvent(new CustomEvent('frame', { detail: f })),
    });
    const pairs = {};
    for (const a of this.attributes) if (!OWN.has(a.name) && !/^(on|data-|aria-)/.test(a.name)) pairs[a.name] = parseValue(a.value);
    if (Object.keys(pairs).length) this.view(unflatten(pairs));
  }

  stop() {
    this.shown?.close();
    this.handle?.release();
    this.shown = this.handle = null;
  }

  /** Change this element's view (a merge patch). */
  view(patch) { this.handle?.link.send(this.getAttribute('stream'), { type: 'view', view: patch, scope: 'me' }); }

  pause() { this.handle?.link.send(this.getAttribute('stream'), { type: 'pause' }); }

  resume() { this.handle?.link.send(this.getAttribute('stream'), { type: 'resume' }); }

  seek(step) { this.handle?.link.send(this.getAttribute('stream'), { type: 'seek', step }); }

  /** @returns {Promise<{index: number[], value: any}>} */
  probe(x, y) { return this.handle.link.request(this.getAttribute('stream'), { type: 'probe', x, y }); }
}

if (globalThis.customElements && !customElements.get('tensor-view')) customElements.define('tensor-view', TensorView);
