/** Gaze and camera: what a mask of attention keeps of a clip, a stream or this machine's camera. */
import { btn, g3, h, segmented } from '../lib/h.js';
import { api, dropPassing, link, may, passingStream, state } from '../lib/store.js';
import { chart } from '../lib/chart.js';
import { pickFiles } from '../components/ts-drop.js';

const TRACE = 240, SIZE = { width: 448, height: 252, fps: 15 };
const PALETTE = ['--st-upload', '--st-render', '--st-readback', '--st-encode'];

export default {
  title: 'Gaze and camera',
  async mount(shell) {
    const id = `gaze.${Math.random().toString(36).slice(2, 8)}`, made = [], shows = [];
    let camera = null, running = false, source = null, options = { mask_source: 'patch-diff', mode: 'resize', threshold: 0.15, visualization: 'interframe' };
    const trace = [];
    shell.top([h('h1', { text: 'Gaze and camera' })]);
    const video = h('video', { muted: true, playsinline: true, 'aria-label': 'This camera' }), input = h('div.picbox', {}, video, h('span.lbl', { text: 'input' })), mask = h('div.picbox', {}, h('span.lbl', { text: 'mask' })), output = h('div.picbox', {}, h('span.lbl', { text: 'output' }));
    const figures = h('dl.stats'), plot = chart({ label: 'Tokens per frame by scale', height: 96, stack: true });
    const models = await api.get('v1/models').then((r) => r.models.filter((m) => /gaze/i.test(`${m.architecture} ${m.kind} ${m.name}`)).map((m) => m.name), () => []);
    const streams = state.streams.filter((s) => !s.ended).map((s) => s.name), clips = await api.get('v1/clips').then((r) => r.clips, () => []);
    const pick = h('select', { 'aria-label': 'Input' }, h('option', { value: '' }, 'Choose an input…'), streams.map((s) => h('option', { value: `stream:${s}` }, `Stream ${s}`)), clips.map((c) => h('option', { value: `clip:${c.id}` }, `Clip ${c.id}`)));
    pick.addEventListener('change', () => { const [k, v] = pick.value.split(/:(.*)/); if (k === 'stream') begin({ stream: v }); else if (k === 'clip') begin({ clip: v, loop: true }); });
    const change = (o) => { options = { ...options, ...o }; if (running) link.send(id, { type: 'gaze', ...o }); };
    const by = segmented('Masks from', [['patch-diff', 'patch difference'], ['autogaze', 'model']], 'patch-diff', (v) => { if (v === 'autogaze' && !models.length) { by.set('patch-diff'); return shell.toast('warn', 'No gaze model is loaded', 'Models takes one.', { text: 'Models', on: () => shell.go('#/models') }); } options = { ...options, mask_source: v, ...(v === 'autogaze' && { model: models[0] }) }; if (source) begin(source); });
    const quality = h('input', { type: 'range', min: 0, max: 100, value: 85, 'aria-label': 'Quality', oninput: () => { const q = quality.value / 100; qText.textContent = `${quality.value} %`; change(options.mask_source === 'autogaze' ? { task_loss_requirement: Math.round((1 - q) * 1e4) / 1e4 } : { threshold: Math.round((1 - q) * 1e4) / 1e4 }); } }), qText = h('span.num', { text: '85 %' });
    const cam = btn('camera', 'Use this camera', { text: 'Use this camera', on: () => (camera ? stop() : useCamera()) });
    const row = (l, ...k) => h('div.pr', {}, h('span.lab', { text: l }), h('div.val', {}, k));
    shell.page.replaceChildren(h('div.page', {}, h('div.bar', {}, pick, may('write') && cam, may('write') && btn('film', 'Open a video or GIF', { text: 'Open a clip', on: openClip })), h('div.pics', {}, input, mask, output), h('div.split', {}, h('article.card', {}, h('header', {}, h('h2', { text: 'Tokens per frame' })), h('div.body', {}, plot, figures)), h('article.card', {}, h('div.body', {}, row('Masks from', by), row('Geometry', segmented('Geometry', [['resize', 'resize'], ['tiled', 'tiled']], 'resize', (v) => { options.mode = v; if (source) begin(source); })), row('Output', segmented('Output', [['interframe', 'interframe'], ['full-blend', 'blend'], ['side-by-side', 'both']], 'interframe', (v) => change({ visualization: v }))), row('Quality', quality, qText))))));

    async function begin(s) {
      stop();
      source = s;
      try {
        const own = `${id}.in`, input_ = s.stream ? s : { stream: own };
        if (!s.stream) { await passingStream(own, { source: s }); made.push(own); }
        await passingStream(id, { source: { gaze: { ...options, input: input_ } } });
        made.push(id);
        await passingStream(`${id}.mask`, { source: { gaze: { ...options, visualization: 'mask', input: input_ } } }).then(() => made.push(`${id}.mask`), () => {});
        running = true;
        show(id, output, onFrame);
        if (made.includes(`${id}.mask`)) show(`${id}.mask`, mask);
        /* Frames go to a stream that this page is subscribed to; the camera itself is shown by its video. */
        if (s.push) shows.push(link.show(own, h('canvas'), { options: { max_fps: 1, scale: 0.25 } }));
        else show(s.stream || own, input);
      } catch (e) { shell.fail('Gaze did not start')(e); }
    }
    function show(name, box, onFrame) {
      const c = h('canvas', { role: 'img', 'aria-label': `${name}, live picture` });
      box.querySelector('canvas')?.remove();
      box.prepend(c);
      shows.push(link.show(name, c, { onFrame: onFrame || (() => {}) }));
    }
    let rendered = 0, since = performance.now(), fps = 0;
    function onFrame(m) {
      const x = m.header.metrics || {};
      camera?.answered(m.header.step ?? Infinity);
      rendered++;
      if (performance.now() - since > 1000) { fps = rendered / (performance.now() - since) * 1000; rendered = 0; since = performance.now(); }
      const scales = Array.isArray(x.tokens_by_scale) ? x.tokens_by_scale : [x.tokens ?? x.n_tokens ?? (typeof x.gaze_ratio === 'number' ? x.gaze_ratio * 100 : 0)];
      trace.push({ step: m.header.step ?? m.header.seq, scales });
      trace.splice(0, trace.length - TRACE);
      plot.set(scales.map((_, i) => ({ name: scales.length > 1 ? `scale ${i}` : x.tokens === undefined && x.n_tokens === undefined ? 'gaze, %' : 'tokens', color: PALETTE[i % 4], x: trace.map((t) => t.step), y: trace.map((t) => t.scales[i] ?? 0) })));
      const pct = (v) => (typeof v === 'number' ? `${g3(v * 100)} %` : '–'), facts = { fps: fps.toFixed(1), 'sent / answered': camera ? `${camera.stats.sent} / ${camera.stats.answered}` : undefined, gaze: `${pct(x.gaze_ratio)} (${pct(x.gaze_ratio_ema)})`, update: pct(x.update_ratio), 'PSNR, dB': `${x.psnr_infinite ? '∞' : g3(x.psnr_db)} (${g3(x.psnr_db_ema)})`, stale: x.stale, dropped: m.dropped };
      figures.replaceChildren(...Object.entries(facts).filter(([, v]) => v !== undefined).map(([k, v]) => h('div', {}, h('dt', { text: k }), h('dd', { text: String(v) }))));
    }
    plot.addEventListener('click', (e) => { const t = trace[Math.round(e.offsetX / plot.clientWidth * (trace.length - 1))]; if (t && running && !camera) link.send(id, { type: 'seek', step: t.step }); });
    async function useCamera() {
      try {
        await begin({ push: true });
        const { startCamera } = await import('../js/camera.js');
        camera = await startCamera(link, `${id}.in`, { video, ...SIZE });
        cam.lastChild.textContent = 'Stop the camera';
      } catch (e) { stop(); shell.fail(e.name === 'NotAllowedError' ? 'The camera was refused' : 'The camera did not start')(e); }
    }
    async function openClip() {
      const [f] = await pickFiles('video/mp4,image/webp,image/gif', false);
      if (!f) return;
      try { const c = await api.upload('POST', 'v1/clips', f, f.type); begin({ clip: c.id, loop: true }); } catch (e) { shell.fail(`${f.name} was not opened`)(e); }
    }
    function stop() {
      camera?.stop();
      camera = null;
      running = false;
      cam.lastChild.textContent = 'Use this camera';
      for (const s of shows.splice(0)) s.close();
      for (const n of made.splice(0)) dropPassing(n);
    }
    if (shell.query.get('camera')) cam.focus();
    this.unmount = () => { stop(); shell.page.replaceChildren(); };
  },
  unmount() {},
};
