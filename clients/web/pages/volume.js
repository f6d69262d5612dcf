/** Tools of a volume view: modes, orbit, pan, zoom, axis gizmo, opacity points and the surface value on the picture. */
import { fitCanvas, h, segmented, token } from '../lib/h.js';
import { link } from '../lib/store.js';

const HOME = { azimuth: 30, elevation: 20, scale: 1 }, DEG = Math.PI / 180;
const MODES = [['mip', 'MIP'], ['mean', 'mean'], ['alpha', 'alpha'], ['iso', 'iso'], ['ortho', 'ortho'], ['slice', 'slice']];

export function mountVolume(focus) {
  const { model, picture, name } = focus;
  let camera = { ...HOME, ...model.view.camera }, raf = 0, settle = 0;
  const modes = segmented('Volume', MODES, model.view.mode || 'mip', (v) => (['ortho', 'slice'].includes(v) ? model.set('kind', v) : model.set('mode', v)));
  const gizmo = h('canvas.gizmo', { 'aria-hidden': true }), curve = h('canvas.opacity', { role: 'img', tabindex: 0, 'aria-label': 'Opacity over the range: click adds a point, drag moves it, Delete removes it' });
  const iso = h('input', { type: 'range', min: 0, max: 1, step: 0.005, 'aria-label': 'Surface value', oninput: () => model.set('iso', +iso.value) });
  const hud = h('div.hud.modes', {}, modes), low = h('div.hud.transfer', {}, curve, iso);
  picture.append(hud, gizmo, low);

  /* Orbit goes out with the newest camera per animation frame; the last one becomes part of the settings. */
  function turn(da, de, dz = 1) {
    camera = { ...camera, azimuth: ((camera.azimuth + da + 540) % 360) - 180, elevation: Math.max(-89, Math.min(89, camera.elevation + de)), scale: Math.max(0.05, Math.min(20, (camera.scale ?? 1) * dz)) };
    draw();
    if (!raf) raf = requestAnimationFrame(() => { raf = 0; link.send(name, { type: 'view', scope: 'me', view: { camera: { azimuth: camera.azimuth, elevation: camera.elevation, scale: camera.scale } } }); });
    clearTimeout(settle);
    settle = setTimeout(() => model.apply({ camera: { azimuth: Math.round(camera.azimuth * 10) / 10, elevation: Math.round(camera.elevation * 10) / 10, scale: Math.round((camera.scale ?? 1) * 1000) / 1000 } }), 120);
  }
  picture.onDrag = (dx, dy) => turn(-dx * 0.4, dy * 0.4);
  picture.onOrbitWheel = (e) => { turn(0, 0, Math.exp(Math.max(-400, Math.min(400, e.deltaY)) * 0.0012)); return true; };
  const keys = (e) => {
    const d = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, 5], ArrowDown: [0, -5] }[e.key];
    if (d && !e.ctrlKey) { e.preventDefault(); e.stopPropagation(); turn(...d); }
    if (e.key === 'Home') { e.preventDefault(); e.stopPropagation(); camera = { ...HOME }; turn(0, 0); }
  };
  picture.addEventListener('keydown', keys, true);

  /* Opacity: points over the range. */
  const points = () => model.view.opacity || [[0, 0], [1, 0.5]];
  let held = -1;
  const at = (e) => { const r = curve.getBoundingClientRect(); return [Math.max(0, Math.min(1, (e.clientX - r.left) / r.width)), Math.max(0, Math.min(1, 1 - (e.clientY - r.top) / r.height))].map((v) => Math.round(v * 1000) / 1000); };
  const put = (list) => model.apply({ opacity: list.sort((a, b) => a[0] - b[0]) });
  curve.addEventListener('pointerdown', (e) => {
    e.stopPropagation();
    const p = at(e), list = points().map((q) => [...q]);
    held = list.findIndex((q) => Math.hypot((q[0] - p[0]) * 200, (q[1] - p[1]) * 56) < 10);
    if (held < 0) { list.push(p); put(list); held = points().findIndex((q) => q[0] === p[0] && q[1] === p[1]); }
    curve.setPointerCapture(e.pointerId);
  });
  curve.addEventListener('pointermove', (e) => {
    e.stopPropagation();
    if (held < 0 || !curve.hasPointerCapture(e.pointerId)) return;
    const list = points().map((q) => [...q]), [x, y] = at(e), lo = list[held - 1]?.[0] ?? 0, hi = list[held + 1]?.[0] ?? 1;
    list[held] = [Math.max(lo, Math.min(hi, x)), y];
    put(list);
  });
  curve.addEventListener('keydown', (e) => { if (e.key === 'Delete' && held >= 0 && points().length > 2) { e.stopPropagation(); put(points().filter((_, i) => i !== held)); held = -1; } });

  function draw() {
    const [g, W, H] = fitCanvas(gizmo), a = camera.azimuth * DEG, e = camera.elevation * DEG, r = W * 0.36;
    const axes = [['x', [Math.cos(a), -Math.sin(a) * Math.sin(e)], '--err'], ['y', [0, -Math.cos(e)], '--live'], ['z', [-Math.sin(a), -Math.cos(a) * Math.sin(e)], '--accent']];
    g.font = `11px ${token('--font')}`;
    for (const [n, [x, y], c] of axes) {
      g.strokeStyle = g.fillStyle = token(c);
      g.lineWidth = 1.5;
      g.beginPath();
      g.moveTo(W / 2, H / 2);
      g.lineTo(W / 2 + x * r, H / 2 + y * r);
      g.stroke();
      g.fillText(n, W / 2 + x * (r + 7) - 3, H / 2 + y * (r + 7) + 4);
    }
    if (curve.hidden) return;
    const [k, w, hh] = fitCanvas(curve);
    k.strokeStyle = token('--fg');
    k.lineWidth = 1.5;
    k.beginPath();
    for (const [x, y] of points()) k.lineTo(x * w, hh - y * hh);
    k.stroke();
    k.fillStyle = token('--accent');
    points().forEach(([x, y], i) => { k.beginPath(); k.arc(x * w, hh - y * hh, i === held ? 5 : 4, 0, 7); k.fill(); });
  }
  function update() {
    const mode = model.view.mode || 'mip';
    modes.set(mode);
    curve.hidden = mode !== 'alpha';
    iso.hidden = mode !== 'iso';
    low.hidden = curve.hidden && iso.hidden;
    iso.value = model.view.iso ?? 0.5;
    if (!settle && model.view.camera) camera = { ...camera, ...model.view.camera };
    draw();
  }
  update();
  return {
    update,
    unmount() {
      cancelAnimationFrame(raf);
      clearTimeout(settle);
      picture.onDrag = picture.onOrbitWheel = null;
      picture.removeEventListener('keydown', keys, true);
      for (const e of [hud, gizmo, low]) e.remove();
    },
  };
}
