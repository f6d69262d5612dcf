/** All resident tensors: find, look at, select, delete, download, drop new ones. */
import { btn, g3, group, h, icon } from '../lib/h.js';
import { bytes, curl, when } from '../lib/format.js';
import { api, deleteLater, isDoomed, loadStreams, may, on, setting } from '../lib/store.js';
import { table } from '../lib/virtual.js';
import { dropTarget, pickFiles, sendFiles } from '../components/ts-drop.js';

const THUMBS_AT_ONCE = 4, RELOAD_MS = 1000;

/* Pictures of the rows in sight: at most four are asked for at a time, newest rows first. */
function thumbs() {
  const cache = new Map();
  let queue = [], busy = 0;
  const next = () => {
    while (busy < THUMBS_AT_ONCE && queue.length) {
      const { key, t, img } = queue.pop();
      if (!img.isConnected) continue;
      busy++;
      api.fetch(`v1/tensors/${t.name}/frame.webp?resize.width=96&resize.height=56&resize.fit=contain&resize.filter=area&resize.background=[0,0,0]`)
        .then((r) => r.blob()).then((b) => { const u = URL.createObjectURL(b); cache.set(key, u); img.src = u; }, () => {})
        .finally(() => { busy--; next(); });
    }
  };
  return {
    of(t) {
      const key = `${t.name}@${t.version}`, img = h('img.thumb', { alt: '', width: 48, height: 28 });
      if (cache.has(key)) img.src = cache.get(key);
      else { queue.push({ key, t, img }); queue = queue.slice(-60); setTimeout(next); }
      return img;
    },
    close() { queue = []; for (const u of cache.values()) URL.revokeObjectURL(u); },
  };
}

/* Rows grouped by what stands before the first dot. */
function tree(list, open) {
  const out = [], groups = new Map();
  for (const t of list) {
    const k = t.name.includes('.') ? t.name.split('.')[0] : '';
    if (!groups.has(k)) groups.set(k, []);
    groups.get(k).push(t);
  }
  for (const [k, members] of groups) {
    if (!k || members.length < 2) { out.push(...members); continue; }
    out.push({ group: true, name: k, n: members.length, nbytes: members.reduce((a, t) => a + t.nbytes, 0), open: !open.has(k) });
    if (!open.has(k)) out.push(...members);
  }
  return out;
}

export default {
  title: 'Tensors',
  mount(shell) {
    const closed = new Set(), pics = thumbs(), stats = new Map(), chip = h('span.chip.hide-s');
    let all = [], filter = '', grouping = setting('tree') !== 'off', loaded = false;
    shell.top([h('h1', { text: 'Tensors' }), chip], [may('write') && btn('up', 'Send files', { text: 'Send files', on: async () => { await sendFiles(shell, await pickFiles()); load(); } })]);
    const box = (t) => { const i = h('input', { type: 'checkbox', 'aria-label': `Select ${t.name}`, checked: tab.chosen.has(t.name), onchange: () => tab.toggleKey(t.name) }); return i; };
    const range = (t) => { const s = stats.get(t.name); return s && s.version === t.version ? `${g3(s.min)} … ${g3(s.max)}` : ''; };
    const fold = (r) => h('button', { type: 'button', 'aria-expanded': String(r.open), onclick: () => { if (closed.has(r.name)) closed.delete(r.name); else closed.add(r.name); show(); } }, `${r.open ? '▾' : '▸'} ${r.name}. (${r.n})`);
    const narrow = matchMedia('(max-width: 1023px)').matches, phone = matchMedia('(max-width: 639px)').matches;
    const columns = [
      { key: 'sel', label: '', width: '20px', cell: (r) => (r.group ? '' : box(r)) },
      { key: 'pic', label: '', width: '48px', cell: (r) => (r.group ? '' : pics.of(r)) },
      { key: 'name', label: 'Name', width: phone ? 'minmax(90px, 2fr)' : 'minmax(140px, 3fr)', sort: (r) => r.name, cell: (r) => (r.group ? fold(r) : h('span', { title: r.name, text: r.name })) },
      !narrow && { key: 'run', label: 'Run', width: 'minmax(50px, 1fr)', sort: (r) => r.run || '', cell: (r) => r.run || '' },
      !phone && { key: 'dtype', label: 'Type', width: '44px', sort: (r) => r.dtype || '', cell: (r) => r.dtype || '' },
      { key: 'shape', label: 'Shape', width: 'minmax(64px, 1.4fr)', sort: (r) => r.nbytes, cell: (r) => (r.shape ? r.shape.join(' × ') || 'scalar' : '') },
      !phone && { key: 'bytes', label: 'Size', width: '72px', num: true, sort: (r) => r.nbytes, cell: (r) => bytes(r.nbytes) },
      !narrow && { key: 'step', label: 'Step', width: '72px', num: true, sort: (r) => r.step ?? -1, cell: (r) => (r.step !== undefined && r.step !== null ? group(r.step) : '') },
      !narrow && { key: 'age', label: 'Changed', width: '92px', num: true, sort: (r) => -(r.t ?? 0), cell: (r) => (r.t ? when(r.t) : '') },
      !narrow && { key: 'range', label: 'Min … max', width: '132px', num: true, cell: (r) => (r.group ? '' : range(r)) },
    ].filter(Boolean);
    const tab = table({ columns, label: 'Tensors', keyOf: (r) => r.name, rowPx: 34, select: true, onOpen: (r) => (r.group ? fold(r).click() : sheet(shell, r, load)), onSelect: drawBulk, onVisible: wantStats });
    const search = h('input', { placeholder: 'Filter by name, run, type', 'aria-label': 'Filter tensors', oninput: () => { filter = search.value.toLowerCase(); show(); } });
    const bulk = h('span.bar'), treeBtn = btn('layers', 'Group by prefix', { quiet: 1, pressed: String(grouping), on: () => { grouping = !grouping; setting('tree', grouping ? '' : 'off'); treeBtn.setAttribute('aria-pressed', String(grouping)); show(); } });
    const blank = h('div.blank', { hidden: true }, h('p', { text: 'No tensors yet. Drop .npy, .safetensors or images anywhere on this page.' }));
    const root = h('div.page.fill', {}, h('div.bar', {}, h('label.field', {}, icon('search'), search), treeBtn, bulk), tab.el, blank);
    shell.page.replaceChildren(root);

    function show() {
      const list = all.filter((t) => !isDoomed('tensors', t.name) && (!filter || `${t.name} ${t.run || ''} ${t.dtype}`.toLowerCase().includes(filter)));
      chip.textContent = `${group(all.length)}, ${bytes(all.reduce((a, t) => a + t.nbytes, 0))}`;
      blank.hidden = !loaded || list.length > 0;
      blank.firstChild.textContent = all.length ? `No tensor matches “${filter}”.` : 'No tensors yet. Drop .npy, .safetensors or images anywhere on this page.';
      tab.el.hidden = !list.length;
      tab.set(grouping ? tree(list, closed) : list);
    }
    let statsBusy = false;
    async function wantStats(rows) {
      if (statsBusy || narrow) return;
      const t = rows.find((r) => !r.group && stats.get(r.name)?.version !== r.version);
      if (!t) return;
      statsBusy = true;
      try { const s = await api.get(`v1/tensors/${t.name}/stats?bins=1`); stats.set(t.name, { version: t.version, min: s.min, max: s.max }); } catch { stats.set(t.name, { version: t.version, min: NaN, max: NaN }); }
      statsBusy = false;
      if (!root.isConnected) return;
      const row = [...tab.el.querySelectorAll('.rw')].find((r) => r.querySelector('[title]')?.title === t.name);
      if (row) row.lastChild.textContent = range(t);
      wantStats(rows);
    }
    function drawBulk(chosen) {
      bulk.replaceChildren(...(chosen.size ? [h('span.chip', {}, h('b', { text: chosen.size }), 'selected'),
        btn('live', 'Open as panels', { text: 'Open as panels', on: () => panels([...chosen]) }),
        btn('down', 'Download', { text: 'Download', on: (e) => shell.menu(e.currentTarget, undefined, undefined, [['down', 'As .npy files', () => download([...chosen])], ['copy', 'As curl lines', () => shell.copy([...chosen].map((n) => `${curl('GET', api.url(`v1/tensors/${n}/data`), undefined, api.token)} -o ${n}.npy`).join('\n'))]]) }),
        may('write') ? btn('trash', 'Delete', { text: 'Delete', on: () => remove([...chosen]) }) : '', btn('x', 'Clear selection', { quiet: 1, on: () => tab.clear() })] : []));
    }
    async function panels(names) {
      const name = `panels-${Date.now().toString(36)}`;
      try {
        await api.json('PUT', `v1/streams/${name}`, { source: { panels: names.slice(0, 64).map((t) => ({ tensor: t, title: t })), columns: Math.ceil(Math.sqrt(names.length)) } });
        await loadStreams();
        shell.go(`#/stream/${name}`);
      } catch (e) { shell.fail('The panels were not made')(e); }
    }
    async function download(names) { for (const n of names) await save(`v1/tensors/${n}/data`, `${n}.npy`); }
    function remove(names) {
      const undo = names.map((n) => deleteLater('tensors', n));
      tab.clear();
      show();
      shell.toast('idle', names.length === 1 ? `${names[0]} deleted` : `${names.length} tensors deleted`, '', { text: 'Undo', on: () => { for (const u of undo) u(); show(); } }, 8000);
    }
    let soon = 0;
    async function load() {
      try { all = (await api.get('v1/tensors')).tensors; loaded = true; show(); } catch (e) { shell.fail('The list of tensors did not come')(e); }
    }
    const later = () => { if (!soon) soon = setTimeout(() => { soon = 0; load(); }, RELOAD_MS); };
    const off = [on('event', (e) => { if (e.kind === 'tensor') later(); }), on('changed', ({ kind }) => { if (kind === 'tensors') show(); }), dropTarget(shell, async (s, f) => { await sendFiles(s, f); load(); })];
    shell.keys({ '/': () => search.focus() });
    load().then(() => { const t = all.find((x) => x.name === shell.query.get('open')); if (t) sheet(shell, t, load); });
    this.unmount = () => { clearTimeout(soon); for (const f of off) f(); pics.close(); tab.close(); shell.page.replaceChildren(); };
  },
  unmount() {},
};

/** Save an answer of the server as a file. */
export async function save(path, name) {
  const a = h('a', { href: await api.address(path), download: name });
  a.click();
}

/* One tensor from the side: picture, statistics, the lines that do the same. */
async function sheet(shell, t, reload) {
  const img = h('img', { alt: `${t.name} as a picture` }), dl = h('dl.kv'), lines = h('pre', { tabindex: 0 });
  const show = async () => {
    try {
      await api.json('PUT', `v1/streams/${t.name}`, { source: { tensor: t.name } });
      await loadStreams();
      d.close();
      shell.go(`#/stream/${t.name}`);
    } catch (e) { shell.fail('No stream was made')(e); }
  };
  const d = await shell.dialog(t.name, [h('div.sheetpic', {}, img), h('div.bar', {}, may('write') ? btn('live', 'Open as stream', { text: 'Open as stream', cls: 'primary', on: show }) : '', btn('down', 'Download .npy', { text: '.npy', on: () => save(`v1/tensors/${t.name}/data`, `${t.name}.npy`) }), may('write') ? btn('trash', 'Delete', { text: 'Delete', on: () => { const undo = deleteLater('tensors', t.name); d.close(); reload(); shell.toast('idle', `${t.name} deleted`, '', { text: 'Undo', on: () => { undo(); reload(); } }, 8000); } }) : ''), dl, h('div.code', {}, h('header', {}, h('span.dim', { text: 'The same from a terminal' }), h('span.grow'), btn('copy', 'Copy', { quiet: 1, on: () => shell.copy(lines.textContent) })), lines)], [], '.side-sheet');
  const auth = api.token;
  lines.textContent = [`${curl('GET', api.url(`v1/tensors/${t.name}/data`), undefined, auth)} -o ${t.name}.npy`, `${curl('GET', api.url(`v1/tensors/${t.name}/frame.png?colormap=magma`), undefined, auth)} -o ${t.name}.png`, curl('GET', api.url(`v1/tensors/${t.name}/stats`), undefined, auth)].join('\n');
  const row = (k, v) => [h('dt', { text: k }), h('dd', { text: v })];
  dl.append(...row('type', t.dtype), ...row('shape', t.shape.join(' × ') || 'scalar'), ...row('size', bytes(t.nbytes)), ...row('version', String(t.version)));
  api.fetch(`v1/tensors/${t.name}/frame.webp?lossless=1`).then((r) => r.blob()).then((b) => { img.src = URL.createObjectURL(b); img.onload = () => { URL.revokeObjectURL(img.src); img.classList.toggle('pix', img.naturalWidth < 300); if (img.naturalWidth < 200) img.width = Math.min(380, img.naturalWidth * 4); }; }, (e) => { img.replaceWith(h('p.dim', { text: e.message })); });
  api.get(`v1/tensors/${t.name}/stats`).then((s) => dl.append(...['min', 'max', 'mean', 'std', 'nan_count', 'inf_count', 'zero_fraction'].filter((k) => s[k] !== undefined).flatMap((k) => row(k.replace('_', ' '), g3(s[k])))), () => {});
}
