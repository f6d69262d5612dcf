/** Add stream: pick a kind of source, fill the form of its schema, see it before it is made. */
import { h, segmented } from '../lib/h.js';
import { api, loadStreams, state } from '../lib/store.js';
import { schemas } from './ts-inspector.js';

const KINDS = { tensor: 'Tensor', pattern: 'Pattern', push: 'Pushed frames', panels: 'Panels', compare: 'Compare', expr: 'Expression', glob: 'By name', decoder: 'Decoder', pipeline: 'Pipeline', clip: 'Clip', gaze: 'Gaze', fit: 'Fit', tap: 'Tap', stream: 'Stream' };
const START = { push: { push: true }, panels: { panels: [{ tensor: '' }], columns: 2 }, compare: { compare: { mode: 'side', a: '', b: '' } }, gaze: { gaze: { mask_source: 'patch-diff', input: { push: true } } }, pattern: { pattern: 'waves', width: 384, height: 256, dt: 0.05 }, decoder: { decoder: { model: '' } } };

export async function streamDialog(shell) {
  const docs = await schemas().catch(() => null), tensors = await api.get('v1/tensors').then((r) => r.tensors, () => []);
  let kind = tensors.length ? 'tensor' : 'pattern', source = {};
  const name = h('input.inp', { 'aria-label': 'Name', placeholder: 'name', pattern: '[A-Za-z0-9_][A-Za-z0-9._\\-]{0,127}' }), fields = h('div.form'), preview = h('div.sheetpic', {}, h('p.dim', { text: 'Nothing to show yet' })), msg = h('div.msg');
  const names = (list) => h('datalist', { id: 'add-names' }, list.map((v) => h('option', { value: v })));
  const line = (label, el) => h('div.pr', {}, h('span.lab', { text: label }), h('div.val', {}, el));
  const input = (k, v, on) => h('input.inp', { value: v ?? '', 'aria-label': k, list: ['tensor', 'a', 'b'].includes(k) ? 'add-names' : null, oninput: (e) => { on(e.target.value); soon(); } });
  function draw() {
    source = structuredClone(START[kind] || { [kind]: kind === 'tensor' ? tensors[0]?.name || '' : '' });
    const schema = docs?.['stream.json'].$defs.source.oneOf.find((s) => s.required?.[0] === kind), props = schema?.properties || { [kind]: {} };
    fields.replaceChildren(names(tensors.map((t) => t.name)), ...Object.entries(props).map(([k, p]) => {
      if (p.const !== undefined) return '';
      if (p.enum) { const s = h('select', { 'aria-label': k, onchange: () => { source[k] = s.value; soon(); } }, p.enum.map((v) => h('option', { value: v }, v))); s.value = source[k] ?? p.enum[0]; return line(k, s); }
      if (p.type === 'object' || p.type === 'array') { const t = h('textarea', { rows: 3, 'aria-label': k, value: JSON.stringify(source[k] ?? (p.type === 'array' ? [] : {})), oninput: () => { try { source[k] = JSON.parse(t.value); msg.textContent = ''; soon(); } catch (e) { msg.textContent = e.message; } } }); return h('div.pr.tall', {}, h('span.lab', { text: k }), t); }
      return line(k, input(k, source[k] ?? p.default, (v) => { source[k] = p.type === 'number' || p.type === 'integer' ? Number(v) : p.type === 'boolean' ? v === 'true' : v; if (v === '' && k !== kind) delete source[k]; }));
    }));
    if (!name.value || name.auto) { name.value = suggest(); name.auto = true; }
    soon();
  }
  const suggest = () => { let base = kind === 'tensor' ? source.tensor || 'tensor' : `${kind}`, n = base, i = 2; while (state.streams.some((s) => s.name === n)) n = `${base}-${i++}`; return n; };
  name.addEventListener('input', () => { name.auto = false; });
  let timer = 0;
  /* A preview where the source can be rendered at once. */
  function soon() {
    clearTimeout(timer);
    if (name.auto && kind === 'tensor') name.value = suggest();
    timer = setTimeout(async () => {
      const body = source.tensor ? { tensor: source.tensor } : source.panels ? { panels: source.panels, canvas: { width: 480, height: 320 } } : source.compare?.a ? { compare: source.compare } : null;
      if (!body) return preview.replaceChildren(h('p.dim', { text: `${KINDS[kind]}: shown when it is made` }));
      try {
        const r = await api.fetch('v1/render.webp', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }), img = h('img', { alt: 'Preview' });
        img.src = URL.createObjectURL(await r.blob());
        img.onload = () => { URL.revokeObjectURL(img.src); img.classList.toggle('pix', img.naturalWidth < 300); if (img.naturalWidth < 200) img.width = Math.min(440, img.naturalWidth * 4); };
        preview.replaceChildren(img);
        msg.textContent = '';
      } catch (e) { msg.textContent = e.message; }
    }, 250);
  }
  const pick = h('select', { 'aria-label': 'Source', onchange: () => { kind = pick.value; draw(); } }, Object.entries(KINDS).map(([k, v]) => h('option', { value: k }, v)));
  pick.value = kind;
  const preset = segmented('Preset', [['', 'none'], ['training', 'training'], ['debug', 'debug'], ['export', 'export']], '', () => {}, '.full');
  const d = await shell.dialog('Add stream', [preview, h('div.form', {}, line('Source', pick), fields, line('Name', name), line('Preset', preset)), h('div.pr', {}, msg)], [{ text: 'Cancel' }, { text: 'Add stream', primary: true, on: async () => {
    const chosen = [...preset.children].find((b) => b.getAttribute('aria-checked') === 'true')?.value_;
    try {
      await api.json('PUT', `v1/streams/${encodeURIComponent(name.value)}`, { source, ...(chosen && { output: { preset: chosen } }) });
      await loadStreams();
      shell.toast('live', `${name.value} added`, '', { text: 'Open', on: () => shell.go(`#/stream/${name.value}`) });
      return true;
    } catch (e) { msg.textContent = e.message; return false; }
  } }]);
  draw();
  return d;
}
