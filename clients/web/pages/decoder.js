/** A decoder under the hand: one slider per latent, seeds, A to B, a sheet of points, a pad of two directions. */
import { btn, h, readNumber } from '../lib/h.js';
import { api, link, on, streamOf } from '../lib/store.js';

const M64 = (1n << 64n) - 1n, VIRTUAL = 32, ROW_PX = 32;

/** n seeded normals: splitmix64, pairs by Box and Muller, as the server makes them. */
export function seededNormals(seed, n) {
  let s = BigInt(seed) & M64;
  const next = () => { s = (s + 0x9E3779B97F4A7C15n) & M64; let z = s; z = ((z ^ (z >> 30n)) * 0xBF58476D1CE4E5B9n) & M64; z = ((z ^ (z >> 27n)) * 0x94D049BB133111EBn) & M64; return z ^ (z >> 31n); };
  const out = new Float32Array(n + 1);
  for (let i = 0; i < n; i += 2) {
    const u1 = (Number(next() >> 11n) + 1) * 2 ** -53, u2 = Number(next() >> 11n) * 2 ** -53, q = Math.sqrt(-2 * Math.log(u1));
    out[i] = q * Math.cos(2 * Math.PI * u2);
    out[i + 1] = q * Math.sin(2 * Math.PI * u2);
  }
  return out.slice(0, n);
}

export default {
  title: 'Decoder',
  async mount(shell) {
    const token = shell.token, here = (r) => r.models.filter((m) => /vae|decoder|autoencoder/i.test(`${m.architecture} ${m.kind} ${m.name}`)), list = await api.get('v1/models').then(here, () => []);
    if (!shell.alive(token)) return;
    const model = shell.args[0] || list[0]?.name;
    this.unmount = () => shell.page.replaceChildren();
    if (!model) { shell.top([h('h1', { text: 'Decoder' })]); shell.page.replaceChildren(h('div.blank', {}, h('p', { text: 'No decoder is loaded.' }), h('a.btn', { href: '#/models' }, 'Load a model'))); return; }
    const pick = h('select', { 'aria-label': 'Model', onchange: () => shell.go(`#/decoder/${pick.value}`) }, [...new Set([model, ...list.map((m) => m.name)])].map((n) => h('option', { value: n }, n)));
    const rtt = h('span.chip');
    shell.top([h('h1', { text: 'Decoder' }), pick], [rtt]);
    const info = await api.get(`v1/models/${model}`).catch(() => ({}));
    if (!shell.alive(token)) return;
    const spec = info.inputs?.find((i) => i.name === 'z') || {}, dim = info.latent_dim ?? info.config?.latent_dim ?? Math.abs((spec.shape || [2]).filter((v) => v > 0).reduce((a, b) => a * b, 1)), range = info.config?.latent?.slider?.max ?? 3;
    const name = `decoder.${model}`, z = new Float32Array(dim), sent = new Map(), times = [];
    let A = null, B = null, seed = 1, raf = 0, id = 0, play = 0;
    const canvas = h('canvas', { role: 'img', 'aria-label': `Picture of ${model}` }), mosaic = h('img', { alt: 'A sheet of points: press one to go there' }), pad = h('div.pad', { role: 'slider', tabindex: 0, 'aria-label': 'Pad of two directions', 'aria-valuenow': 0 }, h('i'));
    /* One stream per model: every connection has its own latents on it. */
    try { if (streamOf(name)?.source?.decoder?.model !== model) await api.json('PUT', `v1/streams/${name}`, { source: { decoder: { model } } }); } catch (e) { shell.fail('The decoder did not open')(e); return; }
    if (!shell.alive(token)) return;
    const shown = link.show(name, canvas, { onFrame(m) {
      canvas.classList.toggle('pix', m.header.width < 300);
      const answer = m.header.id ?? m.header.metrics?.id, t = sent.get(answer);
      if (t === undefined) return;
      for (const k of [...sent.keys()]) if (k <= answer) sent.delete(k);
      times.push(performance.now() - t);
      times.splice(0, times.length - 200);
      const s = [...times].sort((a, b) => a - b), at = (p) => s[Math.min(s.length - 1, Math.floor(s.length * p))].toFixed(1);
      rtt.replaceChildren(h('b', { text: at(0.5) }), 'p50', h('b', { text: at(0.99) }), 'p99 ms');
    } });
    /* At most one latent per animation frame; the newest wins. */
    const send = () => { if (!raf) raf = requestAnimationFrame(() => { raf = 0; sent.set(++id, performance.now()); if (sent.size > 64) sent.delete(sent.keys().next().value); link.send(name, { type: 'latent', z: Array.from(z), id }); }); };
    const rows = new Map(), box = h('div.sliders.vt_', { role: 'group', 'aria-label': 'Latents' }), inner = h('div');
    inner.style.height = `${dim * ROW_PX}px`;
    inner.style.position = 'relative';
    box.append(inner);
    function make(i) {
      const s = h('input', { type: 'range', min: -range, max: range, step: 0.01, value: z[i], 'aria-label': `Latent ${i}`, oninput: () => { z[i] = +s.value; n.value = z[i].toFixed(2); send(); } }), n = h('input.num', { value: z[i].toFixed(2), inputmode: 'decimal', 'aria-label': `Latent ${i}, number`, onchange: () => { z[i] = readNumber(n.value) || 0; s.value = z[i]; send(); } });
      s.addEventListener('dblclick', () => { z[i] = 0; s.value = 0; n.value = '0.00'; send(); });
      s.addEventListener('wheel', (e) => { if (document.activeElement !== s) return; e.preventDefault(); z[i] = Math.max(-range, Math.min(range, z[i] - Math.sign(e.deltaY) * 0.02)); s.value = z[i]; n.value = z[i].toFixed(2); send(); }, { passive: false });
      const el = h('div.pr', {}, h('span.lab', { text: String(i) }), s, n);
      el.style.position = 'absolute';
      el.style.top = `${i * ROW_PX}px`;
      el.style.left = el.style.right = '0';
      el.refresh_ = () => { s.value = z[i]; n.value = z[i].toFixed(2); };
      return el;
    }
    function drawRows() {
      const from = dim > VIRTUAL ? Math.max(0, Math.floor(box.scrollTop / ROW_PX) - 4) : 0, to = dim > VIRTUAL ? Math.min(dim, from + Math.ceil(box.clientHeight / ROW_PX) + 8) : dim;
      for (const [i, e] of rows) if (i < from || i >= to) { e.remove(); rows.delete(i); }
      for (let i = from; i < to; i++) if (!rows.has(i)) { const e = make(i); rows.set(i, e); inner.append(e); }
    }
    box.addEventListener('scroll', () => requestAnimationFrame(drawRows), { passive: true });
    const put = (v) => { z.set(v); for (const e of rows.values()) e.refresh_(); send(); };
    const seedBox = h('input.num', { value: '1', 'aria-label': 'Seed', onchange: () => { seed = parseInt(seedBox.value, 10) || 0; put(seededNormals(seed, dim)); } });
    const t = h('input', { type: 'range', min: 0, max: 1, step: 0.005, value: 0, 'aria-label': 'From A to B', oninput: () => blend(+t.value) });
    const blend = (f) => { if (A && B) put(A.map((a, i) => a + (B[i] - a) * f)); };
    const runPath = btn('play', 'Play from A to B', { quiet: 1, on: () => { clearInterval(play); if (play) { play = 0; return; } let f = 0; play = setInterval(() => { f += 0.01; const w = f % 2 > 1 ? 2 - (f % 2) : f % 2; t.value = w; blend(w); }, 33); } });
    /* The sheet: latents 0 and 1 from −2 to 2. */
    const N = 10, R = 2;
    async function sheet() {
      const all = [];
      for (let y = 0; y < N; y++) for (let x = 0; x < N; x++) { const p = Array.from(z); p[0] = -R + 2 * R * x / (N - 1); if (dim > 1) p[1] = R - 2 * R * y / (N - 1); all.push(p); }
      try { const r = await api.fetch(`v1/models/${model}/decode`, { method: 'POST', headers: { 'Content-Type': 'application/json', Accept: 'image/webp' }, body: JSON.stringify({ z: all, columns: N }) }); mosaic.src = URL.createObjectURL(await r.blob()); mosaic.onload = () => URL.revokeObjectURL(mosaic.src); } catch { mosaic.parentNode.hidden = true; }
    }
    const go = (e) => { const r = mosaic.getBoundingClientRect(), x = (e.clientX - r.left) / r.width, y = (e.clientY - r.top) / r.height; z[0] = (x * N - 0.5) / (N - 1) * 2 * R - R; if (dim > 1) z[1] = R - (y * N - 0.5) / (N - 1) * 2 * R; put(z); };
    mosaic.draggable = false;
    mosaic.addEventListener('pointerdown', (e) => { mosaic.setPointerCapture(e.pointerId); go(e); });
    mosaic.addEventListener('pointermove', (e) => { if (e.buttons) go(e); });
    /* The pad moves along two seeded directions from where it was touched first. */
    const dirs = [seededNormals(101, dim), seededNormals(102, dim)];
    let base = null, at = [0, 0];
    const padTo = (x, y) => { base ||= z.slice(); at = [Math.max(-1, Math.min(1, x)), Math.max(-1, Math.min(1, y))]; pad.firstChild.style.left = `${50 + at[0] * 50}%`; pad.firstChild.style.top = `${50 - at[1] * 50}%`; pad.setAttribute('aria-valuetext', `${at[0].toFixed(2)}, ${at[1].toFixed(2)}`); put(base.map((b, i) => b + at[0] * dirs[0][i] + at[1] * dirs[1][i])); };
    const padEvent = (e) => { const r = pad.getBoundingClientRect(); padTo((e.clientX - r.left) / r.width * 2 - 1, 1 - (e.clientY - r.top) / r.height * 2); };
    pad.addEventListener('pointerdown', (e) => { pad.setPointerCapture(e.pointerId); padEvent(e); });
    pad.addEventListener('pointermove', (e) => { if (e.buttons) padEvent(e); });
    pad.addEventListener('keydown', (e) => { const d = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[e.key]; if (d) { e.preventDefault(); e.stopPropagation(); padTo(at[0] + d[0], at[1] + d[1]); } });
    const text = (label, f) => btn('', label, { text: label, on: f });
    shell.page.replaceChildren(h('div.page', {}, h('div.bar', {}, text('Random', () => { seed = Math.floor(Math.random() * 1e6); seedBox.value = seed; base = null; put(seededNormals(seed, dim)); }), h('label.chip', {}, 'seed', seedBox), text('Reset', () => { base = null; put(new Float32Array(dim)); }), text('Save A', () => { A = z.slice(); }), text('Save B', () => { B = z.slice(); }), h('span.chip', {}, 'A', t, 'B'), runPath), h('div.split', {}, h('div.pics', {}, h('div.picbox', {}, canvas), h('div.picbox', {}, mosaic), dim > 2 && pad), h('article.card', {}, h('header', {}, h('h2', { text: 'Latents' }), h('span.grow'), h('span.dim', { text: String(dim) })), h('div.body', {}, box)))));
    drawRows();
    const off = on('error', (m) => { if (m.stream === name) shell.toast('err', 'The latent was refused', m.detail); });
    const once = on('hello', (m) => { if (m.stream === name) { once(); send(); } });
    sheet();
    this.unmount = () => { clearInterval(play); cancelAnimationFrame(raf); off(); once(); shown.close(); shell.page.replaceChildren(); };
  },
  unmount() {},
};
