/** The wall of all streams. With nothing in it, it is the first-run page. */
import { TsTile } from '../components/ts-tile.js';
import { $, btn, h, icon, segmented } from '../lib/h.js';
import { api, deleteLater, isDoomed, link, loadStreams, may, moveStream, on, setting, state } from '../lib/store.js';

const ROW = { min: 110, max: 320 };

/* What tiles show beside the picture and what is not needed for the first frame. */
const more = { tensors: new Map(), recordings: new Map(), colours: 0, strip: null };

function tensorOf(stream) {
  const name = stream.source?.tensor;
  return name && more.tensors.get(name);
}

async function loadMore(redraw) {
  const [{ colormaps, strip }] = await Promise.all([import('../lib/colormap.js'), loadTensors()]);
  await colormaps().catch(() => {});
  more.strip = strip;
  more.colours++;
  redraw();
}

const loadTensors = () => api.get('v1/tensors').then(({ tensors }) => { more.tensors = new Map(tensors.map((t) => [t.name, t])); }).catch(() => {});

const loadRecordings = () => api.get('v1/recordings').then(({ recordings }) => {
  more.recordings = new Map(recordings.filter((r) => r.state === 'recording').map((r) => [r.stream, { ...r, since: Date.now() - (r.duration_s ?? r.duration ?? 0) * 1000 }]));
}).catch(() => {});

export default {
  title: 'Live',

  mount(shell) {
    const page = shell.page, undo = [], tiles = new Map();
    let frozen = false, run = '', filter = shell.query.get('q') || '', empty = null;
    const chip = h('span.chip.hide-s');
    shell.top([h('h1', { text: 'Live' }), chip], [may('write') && btn('plus', 'Add stream', { text: 'Add stream', cls: 'hide-s', on: () => addStream(shell) })]);

    const wall = h('div.wall', { role: 'list', 'aria-label': 'Live streams' });
    const search = h('input', { placeholder: 'Filter by name, run or tag', 'aria-label': 'Filter streams', value: filter, oninput: () => { filter = search.value; shell.replaceQuery({ q: filter || undefined }); show(); } });
    const runs = h('span.hide-s'), sync = h('span.hide-s');
    const size = h('input', { type: 'range', ...ROW, 'aria-label': 'Tile size', oninput: () => { wall.style.setProperty('--rowh', `${size.value}px`); setting('row', size.value); requestAnimationFrame(resize); } });
    const freeze = btn('pause', 'Freeze all', { quiet: 1, key: 'Space', on: () => freezeAll(!frozen) });
    const nothing = h('div.blank', { hidden: true }, h('p'), btn('', 'Clear filter', { text: 'Clear filter', on: () => { search.value = filter = ''; run = ''; show(); } }));
    const bar = h('div.wallbar', {}, h('label.field', {}, icon('search'), search), runs, h('span.grow.hide-s'), sync, h('span.size.hide-s', {}, icon('live'), size), freeze);

    function freezeAll(v) {
      frozen = v;
      freeze.setAttribute('aria-pressed', String(v));
      for (const t of tiles.values()) t.freeze(v);
    }
    function resize() { for (const t of tiles.values()) t.resized(); }

    const runOf = (s) => s.run || (s.name.includes('.') ? s.name.split('.')[0] : '');
    function drawRuns() {
      const all = [...new Set(state.streams.map(runOf).filter(Boolean))].slice(0, 5);
      const key = all.join();
      if (key === runs.key) return;
      runs.key = key;
      runs.replaceChildren(all.length > 1 ? segmented('Run', [['', 'All'], ...all.map((r) => [r, r])], run, (v) => { run = v; show(); }) : '');
    }
    const modes = { latest: 'latest', step: 'by step', time: 'by time' };
    if (may('write')) sync.append(segmented('Synchronise', Object.entries(modes), setting('sync') || 'latest', setSync));
    async function setSync(by) {
      setting('sync', by);
      for (const s of state.streams) if (!s.ended) link.send(s.name, { type: 'output', scope: 'all', output: { sync: by === 'latest' ? null : { group: 'wall', by } } });
    }

    function matches(s) {
      const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
      const text = `${s.name} ${s.run || ''} ${Object.entries(s.tags || {}).flat().join(' ')}`.toLowerCase();
      return (!run || runOf(s) === run) && words.every((w) => text.includes(w));
    }

    function show() {
      const list = state.streams.filter((s) => !isDoomed('streams', s.name) && !(s.ended && s.dismissed));
      if (state.loaded && !list.length) return showEmpty();
      if (empty) { empty.unmount(); empty = null; }
      if (bar.parentNode !== page) page.replaceChildren(bar, wall, nothing);
      for (const [name, t] of tiles) if (!list.some((s) => s.name === name)) { t.remove(); tiles.delete(name); }
      let visible = 0;
      list.forEach((s, i) => {
        let t = tiles.get(s.name);
        if (!t) {
          t = new TsTile().setup(s, actions);
          if (state.seeded) t.classList.add('new');
          tiles.set(s.name, t);
          if (frozen) t.freeze(true);
        }
        t.stream = s;
        t.hidden = !matches(s);
        visible += t.hidden ? 0 : 1;
        if (wall.children[i] !== t) wall.insertBefore(t, wall.children[i] || null);
      });
      if (state.loaded) state.seeded = true;
      nothing.hidden = visible > 0 || !list.length;
      nothing.firstChild.textContent = `No stream matches “${filter || run}”.`;
      drawRuns();
      tick();
    }

    async function showEmpty() {
      if (empty) return;
      empty = { unmount() {} };
      for (const t of tiles.values()) t.remove();
      tiles.clear();
      bar.remove(); wall.remove(); nothing.remove();
      await shell.styles();
      const m = (await import('./empty.js')).default;
      if (empty && shell.alive(token)) { m.mount({ ...shell, inner: true }); empty = m; }
    }

    function tick() {
      let live = 0, off = 0;
      for (const t of tiles.values()) {
        t.caption();
        if (t.dataset.state === 'live') live++;
        else if (t.dataset.state !== 'ended') off++;
      }
      chip.textContent = tiles.size ? `${live} live${off ? `, ${off} not` : ''}` : '';
    }

    const actions = {
      get colours() { return more.colours; }, tensorOf, recordingOf: (name) => more.recordings.get(name),
      strip: (c, map) => more.strip?.(c, map || 'viridis'),
      async onTool(what, tile) {
        const name = tile.stream.name;
        if (what === 'menu') return actions.onMenu(tile);
        if (what === 'copy') return shell.copy(await api.address(`v1/streams/${name}/frame.webp`), 'Image address copied');
        if (what === 'pin') return link.send(name, { type: 'pin', seq: tile.header?.seq }), shell.toast('live', `Pinned step ${tile.header?.step ?? ''}`, `${name} keeps this frame.`);
        if (what === 'retry') return api.json('POST', `v1/pipelines/${tile.stream.source?.pipeline || name}/restart`).catch(shell.fail(`${name} was not restarted`));
        const r = more.recordings.get(name);
        try {
          if (r) await api.json('POST', `v1/recordings/${r.id}/stop`);
          else await api.json('POST', `v1/streams/${name}/recordings`, { format: 'mp4' }).catch((e) => (e.status === 501 ? api.json('POST', `v1/streams/${name}/recordings`, { format: 'webp' }) : Promise.reject(e)));
          await loadRecordings();
          tick();
          shell.toast('live', r ? `Recorded ${name}` : `Recording ${name}`, r ? 'It is in Recordings.' : 'Record again stops it.', r && { text: 'Open', on: () => shell.go('#/recordings') });
        } catch (e) { shell.fail(`${name} was not recorded`)(e); }
      },
      async onMenu(tile, x, y) {
        await shell.styles();
        const s = tile.stream, name = s.name;
        shell.menu(tile, x, y, [
          ['box', 'Open', () => shell.go(`#/stream/${name}`)],
          may('write') && ['rec', more.recordings.get(name) ? 'Stop recording' : 'Record', () => actions.onTool('record', tile)],
          ['copy', 'Copy image URL', () => actions.onTool('copy', tile)],
          may('write') && ['sliders', 'Edit', () => shell.go(`#/stream/${name}?scope=all`)],
          may('write') && ['plus', 'Duplicate', () => duplicate(s)],
          ['compare', 'Add to compare', () => shell.go(`#/compare?add=${name}`)],
          s.ended && ['x', 'Dismiss', () => { s.dismissed = true; show(); }],
          may('write') && !s.ended && ['trash', 'Delete', () => { const back = deleteLater('streams', name); shell.toast('idle', `${name} deleted`, 'Its tensor stays.', { text: 'Undo', on: back }, 8000); }],
        ]);
      },
    };
    async function duplicate(s) {
      let n = 2;
      while (state.streams.some((t) => t.name === `${s.name}-${n}`)) n++;
      await api.json('PUT', `v1/streams/${s.name}-${n}`, { source: s.source, view: s.view, output: s.output }).catch(shell.fail('The copy was not made'));
      loadStreams();
    }

    /* order: drag, or Alt+arrows */
    let dragged = null;
    wall.addEventListener('dragstart', (e) => { dragged = e.target.closest('ts-tile'); e.dataTransfer.effectAllowed = 'move'; e.dataTransfer.setData('text/plain', dragged?.stream.name || ''); });
    wall.addEventListener('dragover', (e) => { if (dragged) e.preventDefault(); });
    wall.addEventListener('drop', (e) => { const t = e.target.closest('ts-tile'); if (dragged && t && t !== dragged) { e.preventDefault(); moveStream(dragged.stream.name, t.stream.name); } dragged = null; });
    wall.addEventListener('keydown', (e) => {
      const t = e.target.closest('ts-tile'), d = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[e.key];
      if (!t || !d || !e.altKey) return;
      e.preventDefault();
      const i = state.streams.indexOf(t.stream), other = state.streams[d < 0 ? i - 1 : i + 2];
      if (d < 0 && !other) return;
      moveStream(t.stream.name, other?.name);
      $('.name', tiles.get(t.stream.name)).focus();
    });

    const token = shell.token;
    undo.push(on('streams', show), on('changed', show), on('metrics', () => {}));
    undo.push(on('event', (e) => { if (e.kind === 'recording') loadRecordings(); if (e.kind === 'tensor' && e.event === 'created') loadTensors(); }));
    const timer = setInterval(tick, 1000);
    const resized = new ResizeObserver(() => resize());
    resized.observe(wall);
    shell.keys({ ' ': () => freezeAll(!frozen), '/': () => search.focus() });
    show();
    size.value = setting('row') || (parseInt(getComputedStyle(wall).getPropertyValue('--rowh')) || 176);
    if (setting('row')) wall.style.setProperty('--rowh', `${size.value}px`);
    const later = setTimeout(() => { loadMore(tick); loadRecordings().then(tick); }, 60);
    this.unmount = () => {
      clearInterval(timer);
      clearTimeout(later);
      resized.disconnect();
      for (const f of undo) f();
      empty?.unmount();
      page.replaceChildren();
      tiles.clear();
    };
  },

  unmount() {},
};

async function addStream(shell) {
  await shell.styles();
  const { streamDialog } = await import('../components/ts-add.js');
  streamDialog(shell);
}
