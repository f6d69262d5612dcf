/** The whole server: six figures, devices, where time goes, events, limits, viewers, refusals. */
import { btn, g3, group, h, segmented } from '../lib/h.js';
import { bytes, ms } from '../lib/format.js';
import { api, on, setting, state } from '../lib/store.js';
import { chart, stageBar } from '../lib/chart.js';
import { eventLine } from '../lib/dialogs.js';

const WINDOWS = { 300: '5 min', 3600: '1 h', 86400: '1 d' }, POLL_MS = 2000;
const FIGURES = [['frames_sent_per_s', 'Frames sent', '/s'], ['put_to_frame_ms_p99', 'PUT to frame, p99', 'ms'], ['bytes_out_per_s', 'Egress', 'MB/s', (v) => v / 1e6], ['viewers', 'Viewers', ''], ['dropped_percent', 'Dropped', '%'], ['host_memory_bytes', 'Host memory', 'MiB', (v) => v / 2 ** 20]];
const OWNERS = [['models', '--st-render'], ['tensors', '--st-upload'], ['history', '--st-range'], ['images', '--st-encode'], ['cache', '--st-readback'], ['caches', '--st-readback'], ['other', '--st-wait']];
const num = (v) => (typeof v === 'number' ? v : undefined);
const up = (s) => (s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min` : `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`);

/* Where the server keeps no samples, this page keeps its own while it is open. */
const kept = [];

export default {
  title: 'System',
  mount(shell) {
    let span = setting('window') || '300', p = 'p50', kind = '';
    const chip = h('span.chip.hide-s'), pick = segmented('Window', Object.entries(WINDOWS), span, (v) => { span = v; setting('window', v); load(); });
    shell.top([h('h1', { text: 'System' }), chip], [h('span.hide-s', {}, pick)]);
    const figures = FIGURES.map(([key, title, unit, f]) => {
      const v = h('div.v'), c = chart({ label: title, height: 24, fill: 0.07, plain: true });
      return { key, unit, f: f || ((x) => x), v, c, el: h('div.stat', {}, h('div.k', { text: title }), v, c) };
    });
    const card = (cls, title, right, ...body) => h(`article.card.${cls}`, {}, h('header', {}, h('h2', { text: title }), h('span.grow'), right), h('div.body', {}, body));
    const devices = h('div.cols'), times = h('tbody'), events = h('ul'), limits = h('tbody'), viewers = h('tbody'), refused = h('tbody'), build = h('dl.kv');
    const stages = segmented('Percentile', [['p50', 'p50'], ['p99', 'p99']], p, (v) => { p = v; drawTimes(); });
    const kinds = h('select', { 'aria-label': 'Kind of events', onchange: () => { kind = kinds.value; drawEvents(); } });
    const viewersCard = card('c7', 'Viewers', h('span.dim'), h('table', {}, viewers)), refusedCard = card('c5', 'Refused requests', '', h('table', {}, refused)), deviceCards = new Map();
    shell.page.replaceChildren(h('div.page', {}, h('div.strip', {}, figures.map((f) => f.el)), devices, h('div.cols', {},
      card('c7', 'Where a frame’s time goes', stages, h('table', {}, h('thead', {}, h('tr', {}, h('th', { text: 'Stream' }), h('th', {}, h('span.sr', { text: 'Stages' })), h('th.r', { text: 'total, ms' }), h('th.r.hide-s', { text: 'fps' }))), times), h('div.legend', {}, ['wait', 'upload', 'range', 'render', 'readback', 'encode', 'send'].map((k) => h('span', {}, h('i', { vars: { '--c': `var(--st-${k})` } }), k)))),
      card('c5', 'Events', kinds, events), card('c7', 'Limits', btn('copy', 'Copy config', { text: 'Copy config', quiet: 1, on: async () => shell.copy(JSON.stringify(await api.get('v1/config'), null, 2)) }), h('table', {}, limits)), card('c5', 'Build', '', build), viewersCard, refusedCard)));

    function drawDevices(list) {
      for (const d of list) {
        const key = `${d.index ?? ''}${d.name}`, m = d.memory || {}, used = m.used_bytes ?? 0, limit = m.limit_bytes ?? m.limit ?? 0, u = num(d.utilization), busy = u === undefined ? undefined : Math.round(u <= 1 ? u * 100 : u);
        let x = deviceCards.get(key);
        if (!x) {
          x = { c: chart({ label: `Busy share of ${d.name}`, height: 72, max: 100, unit: '%', x: () => '' }), busy: h('span.chip'), mem: h('span'), bar: h('div'), legend: h('div.legend'), y: [] };
          deviceCards.set(key, x);
          devices.append(h(`article.card.${list.length > 1 ? 'c6' : 'c12'}`, {}, h('header', {}, h('h2', { text: d.name }), h('span.dim.hide-s', { text: [d.driver || d.driver_version, d.platform].filter(Boolean).join(', ') }), h('span.grow'), x.busy), h('div.body', {}, x.c, h('div.memrow', {}, h('span', { text: 'Memory' }), x.mem), x.bar, x.legend)));
        }
        if (busy !== undefined) { x.y.push([Date.now() / 1000, busy]); x.y.splice(0, x.y.length - 900); x.busy.replaceChildren(h('b', { text: `${busy} %` }), 'busy'); x.c.set([{ name: 'busy', color: '--st-render', x: x.y.map((q) => q[0]), y: x.y.map((q) => q[1]) }]); }
        x.c.hidden = busy === undefined;
        const by = m.by_owner || d.device_bytes || { tensors: used }, parts = OWNERS.filter(([k]) => by[k]);
        x.mem.replaceChildren(h('b', { text: bytes(used) }), ` of ${bytes(limit)}`);
        x.bar.replaceChildren(h('div.stackbar.bigbar', { role: 'img', 'aria-label': `${bytes(used)} of ${bytes(limit)}` }, parts.map(([k, c]) => h('i', { title: k, vars: { '--c': `var(${c})`, '--v': by[k] } })), h('i', { vars: { '--c': 'var(--hover)', '--v': Math.max(1, limit - used) } })));
        x.legend.replaceChildren(...parts.map(([k, c]) => h('span', {}, h('i', { vars: { '--c': `var(${c})` } }), `${k} `, h('b', { text: bytes(by[k]) }))));
      }
    }
    function drawFigures(s) {
      const series = Array.isArray(s.samples) ? s.samples : kept;
      const now = s.figures || s.now || s.samples?.at?.(-1) || kept.at(-1) || {};
      for (const f of figures) {
        const v = num(now[f.key]);
        f.el.classList.toggle('dim', v === undefined);
        f.v.replaceChildren(v === undefined ? '–' : g3(f.f(v)), h('small', { text: f.key === 'viewers' ? `on ${state.streams.length} streams` : f.unit }));
        const pts = series.filter((q) => num(q[f.key]) !== undefined);
        f.c.set([{ name: '', color: '--accent', x: pts.map((q, i) => q.t ?? i), y: pts.map((q) => f.f(q[f.key])) }]);
      }
    }
    /* Figures from the streams' metrics, for a server that sends none. */
    function sample(s, metrics) {
      const sum = (f) => metrics.reduce((a, m) => a + (f(m) || 0), 0), drops = (m) => Object.entries(m.frames_dropped || {}).reduce((a, [k, v]) => a + (k === 'superseded' ? 0 : v), 0); /* a newer version is no loss to a viewer */
      const q = { t: Date.now() / 1000, sent: sum((m) => m.frames_sent), out: sum((m) => m.bytes_out), viewers: s.viewers?.length ?? num(s.viewers) ?? sum((m) => m.subscribers), host_memory_bytes: s.host_memory_bytes ?? s.memory?.rss_bytes, put_to_frame_ms_p99: Math.max(0, ...metrics.map((m) => m.frame_time_ms?.total?.p99 || 0)), dropped: sum(drops) }, last = kept.at(-1);
      if (last && q.t > last.t) {
        q.frames_sent_per_s = Math.max(0, (q.sent - last.sent) / (q.t - last.t));
        q.bytes_out_per_s = Math.max(0, (q.out - last.out) / (q.t - last.t));
        const sent = q.sent - last.sent, lost = Math.max(0, q.dropped - last.dropped);
        q.dropped_percent = sent + lost > 0 ? lost / (sent + lost) * 100 : 0;
      }
      kept.push(q);
      kept.splice(0, kept.length - 900);
    }
    let last = [];
    function drawTimes() {
      const of = (m) => Object.fromEntries(Object.entries(m.frame_time_ms || {}).map(([k, v]) => [k, v?.[p] || 0])), rows = last.map(([n, m]) => [n, m, of(m)]).filter(([, , t]) => t.total > 0).sort((a, b) => b[2].total - a[2].total).slice(0, 12), most = Math.max(1, ...rows.map(([, , t]) => Object.entries(t).reduce((a, [k, v]) => a + (k === 'total' ? 0 : v), 0)));
      times.replaceChildren(...rows.map(([n, m, t]) => h('tr', {}, h('td', {}, h('a.nm', { href: `#/stream/${n}` }, h('i.dot.live'), n)), h('td.bar', {}, stageBar(t, most)), h('td.r', { text: ms(t.total) }), h('td.r.mid.hide-s', { text: Math.round(m.current_fps || 0) }))));
      if (!rows.length) times.replaceChildren(h('tr', {}, h('td.dim', { colspan: 4, text: 'No stream has rendered a frame yet.' })));
    }
    function drawEvents() {
      const all = ['', ...new Set(state.events.map((e) => e.kind))];
      if (kinds.children.length !== all.length) { kinds.replaceChildren(...all.map((k) => h('option', { value: k }, k || 'All kinds'))); kinds.value = kind; }
      const list = state.events.filter((e) => !kind || e.kind === kind).slice(0, 8);
      events.replaceChildren(...(list.length ? list.map(eventLine) : [h('li.dim', { text: 'Nothing has happened since this page was opened.' })]));
    }
    function drawLimits(s) {
      const use = { max_tensors: s.counts?.tensors, max_streams: state.streams.length, max_connections: s.connections?.http, max_websockets: s.connections?.websockets, ...s.limits_in_use }, size = (k, v) => (/bytes|body|message/.test(k) ? bytes(v) : group(v));
      limits.replaceChildren(...Object.entries(s.limits || {}).filter(([, v]) => typeof v === 'number' || typeof v === 'object').map(([k, v]) => {
        const max = typeof v === 'object' ? v?.limit ?? v?.max : v, used = typeof v === 'object' ? v?.used ?? v?.in_use : use[k], f = used !== undefined && max ? used / max : 0;
        return typeof max !== 'number' || !max ? '' : h('tr', {}, h('td', { text: k.replace(/^max_/, '').replace(/_/g, ' ') }), h('td.bar', {}, used !== undefined && h('div.stackbar', {}, h('i', { vars: { '--c': f > 0.9 ? 'var(--warn)' : 'var(--fg-3)', '--v': f } }), h('i', { vars: { '--c': 'transparent', '--v': Math.max(0, 1 - f) } }))), h('td.r', {}, used !== undefined && size(k, used), h('span.dim', { text: `${used !== undefined ? ' of ' : ''}${size(k, max)}` })));
      }));
    }
    function drawViewers(list) {
      viewersCard.hidden = !Array.isArray(list);
      if (viewersCard.hidden) return;
      viewersCard.querySelector('.dim').textContent = String(list.length);
      viewers.replaceChildren(h('tr', {}, ['Address', 'Stream', 'Level', 'Age', 'Drops'].map((t, i) => h(i > 1 ? 'th.r' : 'th', { text: t }))), ...list.slice(0, 50).map((v) => h('tr', {}, h('td', { text: v.address || '' }), h('td', { text: v.stream || '' }), h('td.r', { text: v.level ?? '' }), h('td.r', { text: v.frame_age_ms !== undefined ? `${ms(v.frame_age_ms)} ms` : '' }), h('td.r', { text: group(v.drops ?? v.dropped ?? 0) }))));
    }
    function drawRefused(list) {
      const rows = Array.isArray(list) ? list : Object.entries(list || {}).map(([code, n]) => ({ code, count: n }));
      refusedCard.hidden = !rows.length;
      refused.replaceChildren(...rows.slice(0, 12).map((r) => h('tr', {}, h('td', { text: r.code || r.status }), h('td.mid', { text: r.detail || r.path || '' }), h('td.r', { text: group(r.count ?? 1) }))));
    }
    async function load() {
      const token = shell.token;
      try {
        const s = await api.get(`v1/server?window=${span}`);
        last = (await Promise.all(state.streams.filter((x) => !x.ended).slice(0, 24).map((x) => api.get(`v1/streams/${x.name}/metrics`).then((m) => [x.name, m], () => null)))).filter(Boolean);
        if (!shell.alive(token)) return;
        chip.textContent = `tensorscope ${s.version || ''}${s.uptime_s !== undefined ? `, up ${up(s.uptime_s)}` : ''}`;
        sample(s, last.map(([, m]) => m));
        drawFigures(s);
        drawDevices(s.devices || []);
        drawTimes();
        drawLimits(s);
        drawViewers(s.viewers);
        drawRefused(s.refused || s.errors);
        build.replaceChildren(...Object.entries({ ...(s.build || {}), formats: s.formats }).filter(([, v]) => v !== undefined).flatMap(([k, v]) => [h('dt', { text: k.replace(/_/g, ' ') }), h('dd', { text: Array.isArray(v) ? v.join(', ') : typeof v === 'object' ? Object.entries(v).map(([a, b]) => (b === true ? a : b === false ? '' : `${a} ${Array.isArray(b) ? b.join(', ') : b}`)).filter(Boolean).join(', ') : String(v) })]));
      } catch (e) { if (shell.alive(token)) chip.textContent = e.message; }
    }
    drawEvents();
    load();
    const timer = setInterval(() => { if (document.visibilityState !== 'hidden') load(); }, POLL_MS), off = on('event', drawEvents);
    this.unmount = () => { clearInterval(timer); off(); shell.page.replaceChildren(); };
  },
  unmount() {},
};
