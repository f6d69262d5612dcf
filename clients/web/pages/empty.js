/** The first run: how a tensor gets here, in the reader's own tool. Leaves by itself when the first stream appears. */
import { btn, h } from '../lib/h.js';
import { api, loadStreams, may } from '../lib/store.js';
import { dropTarget, pickFiles, sendFiles } from '../components/ts-drop.js';

/* Comments are dim, strings are coloured: ['c', text], ['s', text] or plain text. */
function examples() {
  const host = api.base.replace(/\/$/, ''), auth = api.token ? [' -H ', ['s', "'Authorization: Bearer $TOKEN'"], ' \\\n '] : [], token = api.token ? [', token=', ['s', '"…"']] : [];
  return {
    curl: [['c', '# any .npy becomes a live picture\n'], 'curl -T weights.npy \\\n ', ...auth, ' -H ', ['s', "'Content-Type: application/x-npy'"], ` \\\n  ${host}/v1/tensors/weights\ncurl -X PUT`, ...auth, ' -H ', ['s', "'Content-Type: application/json'"], ' \\\n  -d ', ['s', `'{"source":{"tensor":"weights"}}'`], ` \\\n  ${host}/v1/streams/weights`],
    Python: [['c', '# pip install tensorscope\n'], 'import tensorscope ', ['s', 'as'], ' ts\nscope = ts.connect(', ['s', `"${host}"`], ...token, ')\nscope.stream(', ['s', '"weights"'], ').push(array, step=step)'],
    PyTorch: [['c', '# weights, gradients, activations, live\n'], 'import tensorscope ', ['s', 'as'], ' ts\nts.watch(model, every=10,\n         url=', ['s', `"${host}"`], ...token, ')'],
    Camera: [['c', '# a file or an RTSP camera\n'], `curl -X PUT ${host}/v1/pipelines/gate \\\n `, ...auth, ' -H ', ['s', "'Content-Type: application/json'"], ' \\\n  -d ', ['s', `'{"source":{"url":"rtsp://host/stream"}}'`]],
  };
}

const PATTERNS = [['demo.waves', { pattern: 'waves', width: 384, height: 256, dt: 0.05 }, { colormap: 'rdbu_r' }], ['demo.rotor', { pattern: 'rotor', width: 256, height: 256, dt: 0.04 }, { colormap: 'twilight' }], ['demo.cells', { pattern: 'cells', width: 384, height: 256, dt: 0.05 }, { colormap: 'inferno' }]];

export default {
  title: 'Live',
  mount(shell) {
    if (!shell.inner) shell.top([h('h1', { text: 'Live' })]);
    const all = examples(), pre = h('pre', { tabindex: 0, role: 'tabpanel', 'aria-label': 'Example' });
    const tabs = h('div.seg', { role: 'tablist', 'aria-label': 'Client' });
    const put = (k) => {
      pre.replaceChildren(...all[k].map((x) => (Array.isArray(x) ? h(x[0] === 'c' ? 'i' : 'b', { text: x[1] }) : x)));
      for (const b of tabs.children) { b.setAttribute('aria-selected', String(b.textContent === k)); b.tabIndex = b.textContent === k ? 0 : -1; }
    };
    tabs.append(...Object.keys(all).map((k) => h('button', { type: 'button', role: 'tab', onclick: () => put(k) }, k)));
    tabs.addEventListener('keydown', (e) => { const d = { ArrowRight: 1, ArrowLeft: -1 }[e.key], l = [...tabs.children]; if (!d) return; e.preventDefault(); const b = l[(l.indexOf(document.activeElement) + d + l.length) % l.length]; b.focus(); b.click(); });
    put('curl');
    const demo = async () => {
      try {
        for (const [name, source, view] of PATTERNS) await api.json('PUT', `v1/streams/${name}`, { source, view, output: { max_fps: 30 } });
        await loadStreams();
      } catch (e) { shell.fail('The demo did not start')(e); }
    };
    const choose = async () => sendFiles(shell, await pickFiles());
    const ghost = h('canvas', { width: 120, height: 90, 'aria-hidden': true });
    const drop = h('button.drop', { type: 'button', 'aria-label': 'Drop files or choose files', onclick: choose }, ghost,
      h('span.msg', {}, h('b', { text: 'Drop .npy, .safetensors or images' }), h('span', { text: 'or press Enter to choose files' })), h('span.wait', { role: 'status' }, h('i.dot.live'), 'Listening for the first tensor'));
    shell.page.replaceChildren(h('div.empty', {}, h('div.in', {}, h('div', {},
      h('h2', { text: 'Send a tensor and watch it here' }), h('p.lead', { text: 'Each tensor gets a picture, a range and a history. It updates every time you send it again.' }),
      h('div.code', {}, h('header', {}, tabs, h('span.grow'), btn('copy', 'Copy', { quiet: 1, on: () => shell.copy(pre.textContent, 'Copied, paste it into a terminal') })), pre),
      may('write') && h('div.acts', {}, btn('play', 'Start a demo stream', { text: 'Start a demo stream', cls: 'primary', on: demo }), btn('camera', 'Use this camera', { text: 'Use this camera', on: () => shell.go('#/gaze?camera=1') }))), drop)));
    this.off = dropTarget(shell);
    this.stop = ghostWaves(ghost);
  },
  unmount() { this.off?.(); this.stop?.(); this.off = this.stop = null; },
};

/* A still, pale field behind the drop zone; it moves slowly unless motion is unwanted. */
function ghostWaves(c) {
  const g = c.getContext('2d'), img = g.createImageData(c.width, c.height), calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  let t = 0, timer = 0;
  const draw = () => {
    for (let y = 0, o = 0; y < c.height; y++) for (let x = 0; x < c.width; x++, o += 4) {
      const X = x / c.width * 8, Y = y / c.height * 6, v = 0.5 + 0.25 * (Math.sin(X + t) * 0.6 + Math.sin(Y + 1.5 * t) * 0.6 + Math.sin(Math.hypot(X - 4, Y - 3) * 2 - 2 * t) * 0.8), p = Math.max(0, Math.min(3.999, v * 4)), i = Math.floor(p), f = p - i;
      for (let k = 0; k < 3; k++) img.data[o + k] = stops[i][k] + (stops[i + 1][k] - stops[i][k]) * f;
      img.data[o + 3] = 255;
    }
    g.putImageData(img, 0, 0);
    t += 0.03;
  };
  draw();
  if (!calm) timer = setInterval(draw, 66);
  return () => clearInterval(timer);
}
