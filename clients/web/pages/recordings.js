/** Recordings: play, download, delete. */
import { btn, h } from '../lib/h.js';
import { bytes, clock } from '../lib/format.js';
import { api, deleteLater, isDoomed, may, on, state } from '../lib/store.js';
import { table } from '../lib/virtual.js';
import { save } from './tensors.js';

const EXT = { mp4: 'mp4', webm: 'webm', webp: 'webp', png: 'tar', npy: 'tar' };
const seconds = (r) => r.duration_s ?? r.duration ?? 0;

export default {
  title: 'Recordings',
  mount(shell) {
    shell.top([h('h1', { text: 'Recordings' })]);
    const word = { recording: 'live', finalizing: 'warn', done: 'idle', recovered: 'warn', failed: 'err' };
    const act = (r) => h('span.acts_', {}, r.state === 'recording' && may('write') ? btn('stop', `Stop ${r.id}`, { quiet: 1, on: () => api.json('POST', `v1/recordings/${r.id}/stop`).then(load, shell.fail('It was not stopped')) }) : btn('down', `Download ${r.id}`, { quiet: 1, on: () => save(`v1/recordings/${r.id}/file`, `${r.id}.${EXT[r.format] || 'bin'}`) }), may('write') && btn('trash', `Delete ${r.id}`, { quiet: 1, on: () => { const undo = deleteLater('recordings', r.id); shell.toast('idle', `${r.id} deleted`, '', { text: 'Undo', on: undo }, 8000); } }));
    const tab = table({ label: 'Recordings', keyOf: (r) => r.id, rowPx: 36, onOpen: play, columns: [
      { key: 'id', label: 'Name', width: 'minmax(100px, 2fr)', sort: (r) => r.id, cell: (r) => r.id }, { key: 'stream', label: 'Stream', width: 'minmax(80px, 2fr)', sort: (r) => r.stream || '', cell: (r) => r.stream || '' },
      { key: 'format', label: 'Format', width: '60px', sort: (r) => r.format, cell: (r) => r.format }, { key: 'state', label: 'State', width: '100px', sort: (r) => r.state, cell: (r) => h('span.nm', {}, h(`i.dot.${word[r.state] || 'idle'}`), ` ${r.state}`) },
      { key: 'size', label: 'Size', width: '76px', num: true, sort: (r) => r.bytes || 0, cell: (r) => bytes(r.bytes) }, { key: 'dur', label: 'Length', width: '64px', num: true, sort: seconds, cell: (r) => clock(seconds(r)) }, { key: 'act', label: '', width: '64px', cell: act },
    ] });
    const blank = h('div.blank', { hidden: true }, h('p', { text: 'Nothing is recorded yet. Record a stream with R on its page or with the button on its tile.' })), quota = h('span.chip');
    shell.page.replaceChildren(h('div.page.fill', {}, h('div.bar', {}, quota), tab.el, blank));
    let list = [];
    const show = () => { const l = list.filter((r) => !isDoomed('recordings', r.id)); tab.el.hidden = !l.length; blank.hidden = l.length > 0; tab.set(l); };
    async function load() {
      try { list = (await api.get('v1/recordings')).recordings; } catch (e) { blank.firstChild.textContent = e.message; list = []; }
      const all = list.reduce((a, r) => a + (r.bytes || 0), 0), max = state.server?.limits?.max_recording_bytes;
      quota.replaceChildren(h('b', { text: bytes(all) }), typeof max === 'number' && max ? `of ${bytes(max)} on disk` : 'on disk');
      show();
    }
    async function play(r) {
      if (['recording', 'finalizing'].includes(r.state)) return shell.toast('idle', `${r.id} is not finished`, 'Stop it first.');
      const src = await api.address(`v1/recordings/${r.id}/file`, `v1/recordings/${r.id}/`);
      const view = ['mp4', 'webm'].includes(r.format) ? h('video', { src, controls: true, autoplay: true, loop: true }) : r.format === 'webp' ? h('img', { src, alt: r.id }) : h('p.mid', { text: `A ${r.format} sequence, downloaded as a tar.` });
      shell.dialog(r.id, [h('div.picbox', {}, view), h('dl.kv', {}, ['stream', 'format', 'state', 'frames', 'dropped'].filter((k) => r[k] !== undefined).flatMap((k) => [h('dt', { text: k }), h('dd', { text: String(r[k]) })]))], [{ text: 'Download', on: () => save(`v1/recordings/${r.id}/file`, `${r.id}.${EXT[r.format] || 'bin'}`) }], '.wide');
    }
    load();
    const timer = setInterval(() => { if (list.some((r) => r.state === 'recording')) load(); }, 1000), off = [on('event', (e) => { if (e.kind === 'recording') load(); }), on('changed', show)];
    this.unmount = () => { clearInterval(timer); for (const f of off) f(); tab.close(); shell.page.replaceChildren(); };
  },
  unmount() {},
};
