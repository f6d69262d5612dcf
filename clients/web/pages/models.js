/** Models: load, unload, upload; their inputs, outputs and taps; try one on a picture. */
import { btn, group, h, token } from '../lib/h.js';
import { bytes, ms } from '../lib/format.js';
import { api, loadStreams, may, on } from '../lib/store.js';
import { dropTarget, pickFiles } from '../components/ts-drop.js';

const BLOCK = 512;

/* A tar of files, as the server takes a model's directory. */
function tar(files) {
  const parts = [], enc = new TextEncoder();
  for (const { name, data } of files) {
    const head = new Uint8Array(BLOCK), put = (text, at) => head.set(enc.encode(text), at);
    put(name.slice(0, 99), 0); put('0000644\0', 100); put('0000000\0', 108); put('0000000\0', 116);
    put(`${data.byteLength.toString(8).padStart(11, '0')}\0`, 124); put('00000000000\0', 136); put('        ', 148); put('0', 156); put('ustar\x0000', 257);
    put(`${head.reduce((a, b) => a + b, 0).toString(8).padStart(6, '0')}\0 `, 148);
    parts.push(head, data, new Uint8Array((BLOCK - data.byteLength % BLOCK) % BLOCK));
  }
  return new Blob([...parts, new Uint8Array(BLOCK * 2)]);
}

export default {
  title: 'Models',
  mount(shell) { if (shell.args[0]) detail(shell, this); else list(shell, this); },
  unmount() {},
};

const isLoaded = (m) => /^(ready|loaded)/i.test(m.state || '');

function list(shell, page) {
  shell.top([h('h1', { text: 'Models' })], [may('admin') && btn('up', 'Upload a model', { text: 'Upload', on: async () => send(await pickFiles('', true)) })]);
  const body = h('tbody'), blank = h('div.blank', { hidden: true }, h('p', { text: 'No models. Drop a model’s files (config.json with .safetensors, or model.onnx) or a .tar here.' }));
  const head = h('thead', {}, h('tr', {}, ['Name', 'State', 'Architecture', 'Parameters', 'On device', 'p50', 'Versions', ''].map((t, i) => h(i > 2 && i < 7 ? 'th.r' : 'th', { text: t }))));
  const cardEl = h('article.card', {}, h('div.body.scroll', {}, h('table', {}, head, body)));
  shell.page.replaceChildren(h('div.page', {}, cardEl, blank));
  const call = (m, what) => api.json('POST', `v2/repository/models/${m}/${what}`, {}).then(load, shell.fail(`${m} was not ${what}ed`));
  async function load() {
    let models = [];
    try { ({ models } = await api.get('v1/models')); } catch (e) { blank.firstChild.textContent = e.message; }
    cardEl.hidden = !models.length;
    blank.hidden = models.length > 0;
    body.replaceChildren(...models.map((m) => h('tr', {}, h('td', {}, h('a.nm', { href: `#/models/${m.name}` }, h(`i.dot.${isLoaded(m) ? 'live' : /fail|error/.test(m.state || '') ? 'err' : 'idle'}`), m.name)), h('td', { text: (m.state || '').toLowerCase() + (m.progress ? ` ${Math.round(m.progress * 100)} %` : ''), title: m.reason || m.error }), h('td', { text: m.architecture || m.kind || '' }), h('td.r', { text: m.parameters ? group(m.parameters) : '' }), h('td.r', { text: m.device_bytes ? bytes(m.device_bytes) : '' }), h('td.r', { text: m.ms_p50 ? `${ms(m.ms_p50)} ms` : '' }), h('td.r', { text: (m.versions || [m.version]).join(', ') }), h('td.r', {}, may('admin') && btn('', isLoaded(m) ? 'Unload' : 'Load', { text: isLoaded(m) ? 'Unload' : 'Load', quiet: 1, on: () => call(m.name, isLoaded(m) ? 'unload' : 'load') })))));
  }
  async function send(files) {
    if (!files.length) return;
    const one = files.length === 1 && files[0].name.endsWith('.tar'), name = (one ? files[0].name.slice(0, -4) : files[0].webkitRelativePath?.split('/')[0] || files.find((f) => /onnx|safetensors/.test(f.name))?.name.replace(/\.[^.]*$/, '') || 'model').replace(/[^\w.-]/g, '-');
    const field = h('input.inp', { value: name, 'aria-label': 'Name' }), fill = h('i'), bar = h('div.prog', { hidden: true }, fill), msg = h('p.mid', { text: files.map((f) => f.name).join(', ') });
    const stop = new AbortController();
    await shell.dialog('Upload a model', [msg, field, bar], [{ text: 'Cancel', on: () => stop.abort() }, { text: 'Upload', primary: true, on: async () => {
      try {
        bar.hidden = false;
        const body = one ? files[0] : tar(await Promise.all(files.map(async (f) => ({ name: f.name, data: new Uint8Array(await f.arrayBuffer()) }))));
        await api.upload('PUT', `v1/models/${field.value}`, body, 'application/x-tar', (a, b) => fill.style.setProperty('--v', String(a / b * 100)), stop.signal);
        load();
        return true;
      } catch (e) { msg.textContent = e.message; bar.hidden = true; return false; }
    } }]);
  }
  load();
  const off = [on('event', (e) => { if (e.kind === 'model') load(); }), dropTarget(shell, (s, f) => send(f))];
  page.unmount = () => { for (const f of off) f(); shell.page.replaceChildren(); };
}

async function detail(shell, page) {
  const name = shell.args[0], token_ = shell.token;
  shell.top([h('div.crumb', {}, h('a.hide-s', { href: '#/models', text: 'Models' }), h('span.dim.hide-s', { text: '/' }), h('h1', { text: name }))]);
  page.unmount = () => shell.page.replaceChildren();
  let m, taps = [];
  try { m = await api.get(`v1/models/${name}`); taps = await api.get(`v1/models/${name}/taps`).then((r) => r.taps || [], () => []); } catch (e) { if (shell.alive(token_)) shell.page.replaceChildren(h('div.blank', {}, h('p', { text: e.message }))); return; }
  if (!shell.alive(token_)) return;
  const io = (title, l) => l?.length && h('article.card.c6', {}, h('header', {}, h('h2', { text: title })), h('div.body', {}, h('table', {}, l.map((x) => h('tr', {}, h('td', { text: x.name }), h('td.mid', { text: x.datatype || x.dtype || '' }), h('td.r', { text: `[${(x.shape || []).map((n) => (n < 0 ? 'n' : n)).join(', ')}]` }))))));
  const tapRow = (t) => {
    const tap = t.name || t, stream = `${name}.${tap}`.slice(0, 128), sw = h('button.toggle', { type: 'button', role: 'switch', 'aria-checked': String(Boolean(t.stream)), 'aria-label': `Stream of ${tap}`, onclick: async () => {
      const open = sw.getAttribute('aria-checked') === 'true';
      try { await (open ? api.json('DELETE', `v1/streams/${stream}`) : api.json('PUT', `v1/streams/${stream}`, { source: { tap, model: name } })); sw.setAttribute('aria-checked', String(!open)); await loadStreams(); if (!open) shell.toast('live', `${stream} added`, '', { text: 'Open', on: () => shell.go(`#/stream/${stream}`) }); } catch (e) { shell.fail('The tap was not switched')(e); }
    } });
    return h('tr', {}, h('td', { text: tap }), h('td.mid', { text: t.shape ? `${t.dtype || ''} [${t.shape.map((n) => (n < 0 ? 'n' : n)).join(', ')}]` : '' }), h('td.r', {}, may('write') && sw));
  };
  const result = h('div.picbox', { hidden: true }), json = h('pre', { tabindex: 0 });
  const tryIt = async (file) => {
    try {
      const r = await (await api.fetch(`v1/models/${name}/detect?threshold=0.5`, { method: 'POST', headers: { 'Content-Type': file.type }, body: file })).json(), bmp = await createImageBitmap(file), c = h('canvas', { width: bmp.width, height: bmp.height, role: 'img', 'aria-label': `${r.detections.length} detections` }), g = c.getContext('2d');
      g.drawImage(bmp, 0, 0);
      g.lineWidth = Math.max(2, bmp.width / 400);
      g.font = `${Math.max(12, bmp.width / 50)}px ${token('--font')}`;
      for (const d of r.detections) { const [x0, y0, x1, y1] = d.box; g.strokeStyle = g.fillStyle = token('--warn'); g.strokeRect(x0, y0, x1 - x0, y1 - y0); g.fillText(`${d.label} ${d.score.toFixed(2)}`, x0 + 4, Math.max(14, y0 - 5)); }
      result.replaceChildren(c);
      result.hidden = false;
      json.textContent = JSON.stringify(r, null, 1);
    } catch (e) { shell.fail('No detections')(e); }
  };
  const facts = { state: (m.state || '').toLowerCase(), architecture: m.architecture || m.kind, parameters: m.parameters && group(m.parameters), 'on device': m.device_bytes && bytes(m.device_bytes), versions: m.versions?.join(', '), p50: m.ms_p50 && `${ms(m.ms_p50)} ms` };
  const detects = /detr|detect/i.test(`${m.architecture || ''} ${m.kind || ''}`), decodes = /vae|decoder|autoencoder/i.test(`${m.architecture || ''} ${m.kind || ''}`);
  shell.page.replaceChildren(h('div.page', {}, h('div.bar', {}, detects && btn('camera', 'Try an image', { text: 'Try an image', cls: 'primary', on: async () => { const [f] = await pickFiles('image/*', false); if (f) tryIt(f); } }), decodes && h('a.btn', { href: `#/decoder/${name}` }, 'Open the decoder')), h('div.cols', {}, detects && h('div.c12.pics', {}, result), h('article.card.c12', {}, h('div.body', {}, h('dl.kv', {}, Object.entries(facts).filter(([, v]) => v).flatMap(([k, v]) => [h('dt', { text: k }), h('dd', { text: String(v) })])))), io('Inputs', m.inputs), io('Outputs', m.outputs), taps.length && h('article.card.c12', {}, h('header', {}, h('h2', { text: 'Taps' }), h('span.grow'), h('span.dim', { text: String(taps.length) })), h('div.body.scroll', {}, h('table', {}, taps.slice(0, 400).map(tapRow)))), detects && h('article.card.c12', {}, h('header', {}, h('h2', { text: 'Answer' })), h('div.body.code', {}, json)))));
  if (detects) { const off = dropTarget(shell, (s, f) => f[0] && tryIt(f[0])); page.unmount = () => { off(); shell.page.replaceChildren(); }; }
}
