/** Fits of Gaussians to a picture: the queue, one fit with its plots, a sweep as a matrix. */
import { btn, g3, group, h, readNumber } from '../lib/h.js';
import { ago } from '../lib/h.js';
import { bytes } from '../lib/format.js';
import { api, link, may, on } from '../lib/store.js';
import { chart } from '../lib/chart.js';
import { dropTarget, nameOf, pickFiles } from '../components/ts-drop.js';
import { save } from './tensors.js';

const RUNNING = /queued|initial|running|paused|refining|finishing/;
/* Parameters and moments, records, and the images that a fit keeps, in bytes (three channels). */
const memory = (n, w, hh) => 12 * 8 * n + 40 * n + 8 * 4 * 3 * w * hh + 44 * w * hh;

export default {
  title: 'Fits',
  mount(shell) { this.unmount = () => shell.page.replaceChildren(); if (shell.args[0]) one(shell, this); else queue(shell, this); },
  unmount() {},
};

function bar(f) {
  const p = f.max_steps ? Math.min(100, f.step / f.max_steps * 100) : 0;
  return h('div.prog', { role: 'progressbar', 'aria-valuenow': Math.round(p), 'aria-label': 'Progress' }, h('i', { vars: { '--v': p } }));
}
const psnr = (f) => f.psnr_db ?? f.psnr;

function queue(shell, page) {
  const body = h('tbody'), blank = h('div.blank', { hidden: true }, h('p', { text: 'No fits yet. Drop an image here to start one.' }), may('write') && btn('', 'Choose an image', { text: 'Choose an image', on: async () => begin(await pickFiles('image/*')) })), sweeps = h('div');
  shell.top([h('h1', { text: 'Fits' })], [may('write') && btn('plus', 'New fit', { text: 'New fit', on: async () => begin(await pickFiles('image/*')) })]);
  const table = h('article.card', {}, h('div.body.scroll', {}, h('table', {}, h('thead', {}, h('tr', {}, ['Fit', 'State', 'Step', '', 'PSNR, dB', 'SSIM', 'Steps/s', 'Left'].map((t, i) => h(i > 3 ? 'th.r' : 'th', { text: t })))), body)));
  shell.page.replaceChildren(h('div.page', {}, table, sweeps, blank));
  async function load() {
    let fits = [];
    try { ({ fits } = await api.get('v1/fits')); } catch (e) { blank.firstChild.textContent = e.message; }
    table.hidden = !fits.length;
    blank.hidden = fits.length > 0;
    body.replaceChildren(...fits.map((f) => h('tr', {}, h('td', {}, h('a.nm', { href: `#/fits/${f.id}` }, h(`i.dot.${f.state === 'failed' ? 'err' : RUNNING.test(f.state) ? 'live' : 'idle'}`), f.id)), h('td', { text: f.state, title: f.error }), h('td', { text: `${group(f.step ?? 0)} / ${group(f.max_steps ?? 0)}` }), h('td.bar', {}, bar(f)), h('td.r', { text: g3(psnr(f)) }), h('td.r', { text: g3(f.ssim) }), h('td.r', { text: g3(f.steps_per_second) }), h('td.r', { text: RUNNING.test(f.state) && f.eta ? ago(f.eta) : '' }))));
    drawSweeps(fits.filter((f) => f.batch));
  }
  function drawSweeps(fits) {
    const by = Map.groupBy ? Map.groupBy(fits, (f) => f.batch) : new Map();
    sweeps.replaceChildren(...[...by].map(([id, l]) => {
      const counts = [...new Set(l.map((f) => f.num_gaussians))].sort((a, b) => a - b), image = (f) => f.config?.image || f.name, images = [...new Set(l.map(image))];
      return h('article.card', {}, h('header', {}, h('h2', { text: `Sweep ${id}` })), h('div.body.scroll', {}, h('table', {}, h('tr', {}, h('th', { text: 'Image' }), counts.map((c) => h('th.r', { text: group(c) }))), images.map((im) => { const best = Math.max(...l.filter((f) => image(f) === im).map((f) => psnr(f) ?? -1)); return h('tr', {}, h('td', { text: im }), counts.map((c) => { const f = l.find((q) => image(q) === im && q.num_gaussians === c); return h('td.r', {}, f && h(psnr(f) === best ? 'b' : 'a', { href: `#/fits/${f.id}`, text: g3(psnr(f)) })); })); }))));
    }));
  }
  async function begin(files) {
    const images = files.filter((f) => /^image\/(png|jpeg|webp)$/.test(f.type));
    if (!images.length) return;
    const bmp = await createImageBitmap(images[0]), est = h('p.mid'), counts = h('input.inp', { value: '2000', 'aria-label': 'Gaussians' }), steps = h('input.inp', { value: '2000', 'aria-label': 'Steps' });
    const estimate = () => { const n = Math.max(...counts.value.split(/[\s,]+/).map(readNumber).filter((v) => v > 0)); est.textContent = Number.isFinite(n) ? `${bmp.width} × ${bmp.height}, about ${bytes(memory(n, bmp.width, bmp.height))} on the device` : 'Give a number, or several for a sweep.'; };
    counts.addEventListener('input', estimate);
    estimate();
    const line = (l, e) => h('div.pr', {}, h('span.lab', { text: l }), h('div.val', {}, e));
    await shell.dialog(images.length > 1 ? `Fit ${images.length} images` : `Fit ${images[0].name}`, [line('Gaussians', counts), line('Steps', steps), est, h('p.dim', { text: 'Several counts or images make a sweep.' })], [{ text: 'Cancel' }, { text: 'Start', primary: true, on: async () => {
      try {
        const names = [];
        for (const f of images) { await api.upload('PUT', `v1/tensors/${nameOf(f.name)}`, f, f.type); names.push(nameOf(f.name)); }
        const n = counts.value.split(/[\s,]+/).map(readNumber).filter((v) => v > 0), max_steps = readNumber(steps.value) || 2000;
        const r = await api.json('POST', 'v1/fits', names.length * n.length > 1 ? { sweep: { images: names, num_gaussians: n }, max_steps } : { image: names[0], num_gaussians: n[0], max_steps, video: true });
        if (r.fits) load(); else shell.go(`#/fits/${r.id}`);
        return true;
      } catch (e) { est.textContent = e.body?.errors?.map((x) => `${x.field}: ${x.message}`).join('; ') || e.message; return false; }
    } }]);
  }
  load();
  const timer = setInterval(load, 1000), off = dropTarget(shell, (s, f) => begin(f));
  page.unmount = () => { clearInterval(timer); off(); shell.page.replaceChildren(); };
}

async function one(shell, page) {
  const id = shell.args[0], token = shell.token, chip = h('span.chip'), series = { psnr: [[], []], loss: [[], []] };
  let shown = null, fit;
  try { fit = await api.get(`v1/fits/${id}`); } catch (e) { shell.top([h('h1', { text: id })]); shell.page.replaceChildren(h('div.blank', {}, h('p', { text: e.message }))); return; }
  if (!shell.alive(token)) return;
  const act = (what) => api.json('POST', `v1/fits/${id}/${what}`, {}).then(load, shell.fail(`${what} failed`));
  const pause = btn('pause', 'Pause', { text: 'Pause', on: () => act(fit.state === 'paused' ? 'resume' : 'pause') }), finish = btn('stop', 'Finish now and write the files', { text: 'Finish', on: () => act('stop') });
  shell.top([h('div.crumb', {}, h('a.hide-s', { href: '#/fits', text: 'Fits' }), h('span.dim.hide-s', { text: '/' }), h('h1', { text: id })), chip], may('write') ? [pause, finish] : []);
  const canvas = h('canvas', { role: 'img', 'aria-label': `Fit ${id}: ground truth and render` }), box = h('div.picbox', {}, canvas), rubber = h('i.rubber', { hidden: true });
  box.append(rubber);
  const plots = { psnr: chart({ label: 'PSNR over steps', height: 160, auto: true, fill: 0, unit: 'dB' }), loss: chart({ label: 'Loss over steps', height: 160, fill: 0 }) };
  const log = { x: false, y: false }, toggles = ['x', 'y'].map((k) => btn('', `Logarithmic ${k}`, { text: `log ${k}`, quiet: 1, pressed: 'false', on: (e) => { log[k] = !log[k]; e.currentTarget.setAttribute('aria-pressed', String(log[k])); plots.loss.option(k === 'x' ? 'logX' : 'logY', log[k]); if (k === 'x') plots.psnr.option('logX', log.x); } }));
  const stats = h('dl.stats'), height = h('input.inp', { value: '1024', 'aria-label': 'Height in pixels' });
  const dl = (f, text) => btn('down', `Download ${f}`, { text, on: () => save(`v1/fits/${id}/files/${f}`, f) });
  const png = btn('down', 'Download a PNG of this height', { text: 'PNG', on: async () => { try { const r = await api.fetch(`v1/fits/${id}/render`, { method: 'POST', headers: { 'Content-Type': 'application/json', Accept: 'image/png' }, body: JSON.stringify({ height: readNumber(height.value) || 1024 }) }), u = URL.createObjectURL(await r.blob()); h('a', { href: u, download: `${id}.png` }).click(); setTimeout(() => URL.revokeObjectURL(u), 1000); } catch (e) { shell.fail('Not rendered')(e); } } });
  shell.page.replaceChildren(h('div.page', {}, box, h('div.cols', {}, h('article.card.c6', {}, h('header', {}, h('h2', { text: 'PSNR' })), h('div.body', {}, plots.psnr)), h('article.card.c6', {}, h('header', {}, h('h2', { text: 'Loss' }), h('span.grow'), toggles), h('div.body', {}, plots.loss)), h('article.card.c6', {}, h('div.body', {}, stats)), h('article.card.c6', {}, h('header', {}, h('h2', { text: 'Downloads' })), h('div.body', {}, h('div.bar', {}, dl('metrics.csv', 'CSV'), dl('training.mp4', 'MP4'), dl('model.safetensors', 'Model'), png, height), h('p.dim', { text: 'Draw a rectangle on the picture to add Gaussians there.' }))))));
  if (fit.stream) shown = link.show(fit.stream, canvas, { onFrame: (m) => point(m.header.step, m.header.psnr_db ?? m.header.psnr ?? m.header.metrics?.psnr_db ?? m.header.metrics?.psnr, m.header.total_loss ?? m.header.metrics?.total_loss ?? m.header.metrics?.loss) });
  function point(step, p, l) {
    for (const [k, v] of [['psnr', p], ['loss', l]]) {
      const s = series[k];
      if (typeof v !== 'number' || (s[0].length && step <= s[0].at(-1))) continue;
      s[0].push(step);
      s[1].push(v);
      plots[k].set([{ name: k, color: k === 'psnr' ? '--st-render' : '--st-encode', x: s[0], y: s[1] }]);
    }
  }
  /* A rectangle on the picture: more Gaussians there. */
  let from = null;
  const at = (e) => { const r = canvas.getBoundingClientRect(); return [(e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height]; };
  if (may('write')) {
    canvas.addEventListener('pointerdown', (e) => { from = at(e); canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener('pointermove', (e) => { if (!from) return; const to = at(e), b = box.getBoundingClientRect(), c = canvas.getBoundingClientRect(); rubber.hidden = false; Object.assign(rubber.style, { left: `${c.left - b.left + Math.min(from[0], to[0]) * c.width}px`, top: `${c.top - b.top + Math.min(from[1], to[1]) * c.height}px`, width: `${Math.abs(to[0] - from[0]) * c.width}px`, height: `${Math.abs(to[1] - from[1]) * c.height}px` }); });
    canvas.addEventListener('pointerup', (e) => {
      const a = from, b = at(e);
      from = null;
      rubber.hidden = true;
      if (!a || Math.abs(a[0] - b[0]) < 0.01) return;
      const panels = fit.panels || 2, f = (v) => Math.max(0, Math.min(1, (v * panels) % 1));
      api.json('POST', `v1/fits/${id}/add`, { count: 100, mode: 'region', rect: [f(Math.min(a[0], b[0])), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]) * panels, Math.abs(a[1] - b[1])] }).then(() => shell.toast('live', '100 Gaussians added', ''), shell.fail('None were added'));
    });
  }
  async function load() {
    try { fit = await api.get(`v1/fits/${id}`); } catch { return; }
    if (!shell.alive(token)) return;
    const run = RUNNING.test(fit.state);
    chip.replaceChildren(h(`i.dot.${fit.state === 'failed' ? 'err' : run ? 'live' : 'idle'}`), `${fit.state}, step ${group(fit.step ?? 0)}${fit.max_steps ? ` of ${group(fit.max_steps)}` : ''}`);
    pause.hidden = finish.hidden = !run;
    pause.lastChild.textContent = fit.state === 'paused' ? 'Resume' : 'Pause';
    point(fit.step, psnr(fit), fit.total_loss);
    stats.replaceChildren(...[['PSNR, dB', psnr(fit)], ['SSIM', fit.ssim], ['count', fit.count], ['steps/s', fit.steps_per_second], ['left, s', run ? fit.eta : undefined], ['LR scale', fit.lr_scale]].filter(([, v]) => typeof v === 'number').map(([k, v]) => h('div', {}, h('dt', { text: k }), h('dd', { text: g3(v) }))));
    if (fit.error) shell.fail('The fit failed')(new Error(fit.error.detail || fit.error));
  }
  api.get(`v1/fits/${id}/metrics`).then((r) => { for (const m of r.metrics || r.evaluations || []) point(m.step, m.psnr_db ?? m.psnr, m.total_loss ?? m.loss); }, () => {});
  load();
  const timer = setInterval(() => { if (RUNNING.test(fit.state)) load(); }, 1000), off = on('event', (e) => { if (e.kind === 'fit' && e.name === id) load(); });
  page.unmount = () => { clearInterval(timer); off(); shown?.close(); shell.page.replaceChildren(); };
}
