/** Files onto the page: .npy, .safetensors and images become tensors and streams, with progress and cancel. */
import { btn, h } from '../lib/h.js';
import { bytes } from '../lib/format.js';
import { api, loadStreams } from '../lib/store.js';

const TYPES = { npy: 'application/x-npy', safetensors: 'application/vnd.safetensors', png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', webp: 'image/webp' };
const SHOW_MS = 300;

/** A legal name of what a file holds. */
export const nameOf = (file) => file.replace(/\.[^.]*$/, '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9_]+/, '').slice(0, 120) || 'tensor';

/** Ask for files. @returns {Promise<File[]>} */
export function pickFiles(accept = '.npy,.safetensors,image/png,image/jpeg,image/webp', multiple = true) {
  return new Promise((done) => {
    const i = h('input', { type: 'file', accept, multiple });
    i.addEventListener('change', () => done([...i.files]));
    i.addEventListener('cancel', () => done([]));
    i.click();
  });
}

/** Take files that are dropped anywhere on the page; returns the function that ends it. */
export function dropTarget(shell, take = sendFiles) {
  let veil = null;
  const over = (e) => {
    if (!e.dataTransfer?.types.includes('Files')) return;
    e.preventDefault();
    if (!veil) document.body.append(veil = h('div.dropzone', {}, h('b', { text: 'Drop to send' })));
  };
  const end = () => { veil?.remove(); veil = null; };
  const leave = (e) => { if (!e.relatedTarget) end(); };
  const drop = (e) => { if (!e.dataTransfer?.files.length) return; e.preventDefault(); end(); take(shell, [...e.dataTransfer.files]); };
  const paste = (e) => { if (e.clipboardData?.files.length) take(shell, [...e.clipboardData.files]); };
  const all = { dragover: over, dragleave: leave, drop, paste };
  for (const k in all) addEventListener(k, all[k]);
  return () => { end(); for (const k in all) removeEventListener(k, all[k]); };
}

/** Send files one after the other; each gets a stream, and what fails says why. */
export async function sendFiles(shell, files) {
  const done = [];
  for (const file of files) {
    const ext = file.name.split('.').pop().toLowerCase(), type = TYPES[ext] || (Object.values(TYPES).includes(file.type) ? file.type : '');
    if (!type) { shell.fail(`${file.name} was not sent`)(new Error('It is not .npy, .safetensors, PNG, JPEG or WebP.')); continue; }
    try { done.push(...await sendOne(file, type)); } catch (e) { shell.fail(`${file.name} was not stored`)(e); }
  }
  const made = [];
  for (const t of done.slice(0, 64)) {
    try {
      await api.json('PUT', `v1/streams/${t.name}`, { source: { tensor: t.name } });
      made.push(t.name);
    } catch (e) { shell.fail(`${t.name} has no stream`)(e); }
  }
  if (!done.length) return done;
  await loadStreams().catch(() => {});
  shell.toast('live', done.length === 1 ? `${done[0].name} is here` : `${done.length} tensors are here`, done.length === 1 ? `${done[0].dtype} [${done[0].shape.join(',')}], ${bytes(done[0].nbytes)}` : '', made.length && { text: 'Open', on: () => shell.go(made.length === 1 ? `#/stream/${made[0]}` : '#/live') });
  return done;
}

async function sendOne(file, type) {
  const stop = new AbortController(), bar = progress(file, stop);
  const head = file.name.split('.').pop().toLowerCase() === 'safetensors' || type.endsWith('safetensors');
  try {
    const r = head ? await api.upload('POST', 'v1/tensors', file, type, bar.at, stop.signal) : await api.upload('PUT', `v1/tensors/${nameOf(file.name)}`, file, type, bar.at, stop.signal);
    return head ? r.tensors : [r];
  } finally { bar.end(); }
}

/* Bytes, rate and time left, shown from 300 ms on. */
function progress(file, stop) {
  const start = performance.now(), fill = h('i'), text = h('span.mid');
  const box = h('div.toast', {}, h('div.grow', {}, h('b', { text: `Sending ${file.name}` }), text, h('div.prog', { role: 'progressbar', 'aria-label': file.name, 'aria-valuemin': 0, 'aria-valuemax': 100 }, fill)), btn('x', 'Cancel', { text: 'Cancel', on: () => stop.abort() }));
  const timer = setTimeout(() => document.querySelector('#toasts').append(box), SHOW_MS);
  return {
    at(sent, total) {
      const s = (performance.now() - start) / 1000, rate = sent / Math.max(s, 0.001), left = (total - sent) / Math.max(rate, 1);
      fill.style.setProperty('--v', String(sent / total * 100));
      fill.parentNode.setAttribute('aria-valuenow', String(Math.round(sent / total * 100)));
      text.textContent = sent >= total ? `${bytes(total)}, the server is reading it` : `${bytes(sent)} of ${bytes(total)}, ${bytes(rate)}/s, ${Math.ceil(left)} s left`;
    },
    end() { clearTimeout(timer); box.remove(); },
  };
}

