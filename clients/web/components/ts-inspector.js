/** The settings of a view, generated from the server's schemas; then statistics and delivery. */
import { btn, g3, group, h, icon, segmented } from '../lib/h.js';
import { bytes, ms } from '../lib/format.js';
import { api, may } from '../lib/store.js';
import { buildForm, fields, grouped } from '../lib/schema-form.js';
import { colormapControl } from './ts-colormaps.js';

const VIEW_GROUPS = ['View', 'Range', 'Tone', 'Colour', 'Filters', 'Overlay', 'More'];
const STAGES = ['wait', 'upload', 'range', 'render', 'readback', 'encode', 'send'];
let documents = null;

/** The schemas, fetched once. */
export const schemas = () => (documents ||= Promise.all(['view.json', 'stream.json'].map((n) => api.get(`v1/schemas/${n}`)))
  .then(([view, stream]) => ({ 'view.json': view, 'stream.json': stream })).catch((e) => { documents = null; throw e; }));

const STATS = [['min'], ['max'], ['mean'], ['std'], ['median', (s) => s.percentiles?.['50'] ?? s.percentiles?.[3] ?? s.p50], ['zero', (s) => (s.zero_fraction === undefined ? undefined : `${(s.zero_fraction * 100).toFixed(1)} %`)], ['NaN', (s) => s.nan_count ?? s.nan], ['count', (s) => s.count]];

export class TsInspector extends HTMLElement {
  /** @param {{model: any, onCurl: Function, onLink: Function, onMenu: Function}} options */
  setup(options) {
    Object.assign(this, options);
    this.className = 'insp';
    this.setAttribute('role', 'complementary');
    this.setAttribute('aria-label', 'View settings');
    this.tabIndex = -1;
    const model = this.model;
    this.scope = segmented('Applies to', [['me', 'Only me'], ...(may('write') ? [['all', 'Everyone']] : [])], model.scope, (v) => { model.scope = v; model.changed('scope'); });
    this.body = h('div');
    this.stats = {};
    this.statsBox = h('section', { hidden: true }, h('h2', { text: 'Statistics' }), h('dl.stats', {}, STATS.map(([k]) => h('div', {}, h('dt', { text: k }), (this.stats[k] = h('dd', { text: '–' }))))));
    this.delivery = h('section', { hidden: true });
    this.append(h('section.head', {}, h('h2', {}, 'View', btn('reset', 'Reset to the stream’s own view', { quiet: 1, on: () => model.resetAll() })), h('div.pr', {}, h('span.lab', { text: 'Applies to' }), h('div.val', {}, this.scope))),
      this.body, this.statsBox, this.delivery, h('section.sticky', {}, btn('copy', 'Copy as curl', { text: 'Copy as curl', key: 'C', on: () => this.onCurl() }), btn('', 'Copy link', { text: 'Copy link', key: 'Y', on: () => this.onLink() }), btn('more', 'More ways to copy', { on: (e) => this.onMenu(e.currentTarget) })));
    return this;
  }

  async build() {
    const model = this.model, docs = await schemas();
    const context = { get: (p) => model.get(p), set: (p, v, also) => model.set(p, v, also), changed: (p) => model.isChanged(p), reset: (p) => model.reset(p), shape: () => model.shape, pair: () => model.range, fallback: (k) => (k === 'kind' ? model.kind() : model.fallback?.(k)) };
    this.form = buildForm(fields(docs, 'view.json'), context, { colormap: colormapControl });
    const parts = grouped(this.form, VIEW_GROUPS).map((g) => this.group(g));
    this.out = buildForm(fields(docs, 'stream.json', 'output'), { ...context, get: (p) => model.getOutput(p), set: (p, v) => model.setOutput(p, v), changed: () => false, reset: () => {}, fallback: undefined });
    if (may('write')) parts.push(...grouped(this.out, ['Output', 'More']).map((g) => this.group(g, true)));
    this.body.replaceChildren(...parts);
    this.update();
  }

  group(g, closed) {
    const more = g.more.length ? h('details', {}, h('summary', {}, icon('right'), `More of ${g.name.toLowerCase()}`), h('div.form', {}, g.more)) : '';
    if (g.name === 'View') return h('section.joined', {}, g.plain, more);
    if (closed || ['Filters', 'Overlay', 'More', 'Tone'].includes(g.name)) return h('section', {}, h('details', { open: g.name === 'Tone' }, h('summary', {}, icon('right'), g.name), h('div.form', {}, g.plain, more)));
    return h('section', {}, h('h2', { text: g.name }), g.plain, more, g.name === 'Colour' && h('div.pr', {}, h('span.lab', { text: 'Not finite' }), h('div.val', {}, h('span.sw', {}, h('i.nan'), 'NaN'), h('span.sw', {}, h('i.pinf'), '+∞'), h('span.sw', {}, h('i.ninf'), '−∞'))));
  }

  update() {
    this.scope.set(this.model.scope);
    this.form?.update();
    this.out?.update();
  }

  /** Put a refusal under the control it names. @returns {boolean} whether a control took it */
  problem(text) {
    const words = text.match(/[a-z_]+(\.[a-z_]+|\[\d+\])*/gi) || [];
    return Boolean(words.sort((a, b) => b.length - a.length).find((w) => this.form?.problem(w.replace(/^view\./, ''), text) || this.out?.problem(w.replace(/^output\./, ''), text)));
  }

  clearProblems() { this.form?.clear(); this.out?.clear(); }

  statistics(s) {
    this.statsBox.hidden = !s;
    if (!s) return;
    for (const [k, f] of STATS) {
      const v = f ? f(s) : s[k];
      this.stats[k].textContent = v === undefined || v === null ? '–' : typeof v === 'string' ? v : Number.isInteger(v) && Math.abs(v) >= 1e4 ? group(v) : g3(v);
    }
  }

  /** A metrics message: time per stage, level, quality. */
  metrics(m, frame) {
    const t = m?.frame_time_ms;
    if (!t) return;
    const p50 = (k) => (typeof t[k] === 'object' ? t[k]?.p50 : t[k]) || 0, list = STAGES.map((k) => [k, p50(k)]).filter(([, v]) => v > 0), total = p50('total') || list.reduce((a, [, v]) => a + v, 0);
    this.delivery.hidden = false;
    const facts = [['level', frame?.header.level], ['quality', frame?.header.quality], ['viewers', m.subscribers], ['sent', frame && bytes(frame.bytes)], ['decode', frame && `${ms(frame.decode_ms)} ms`]].filter(([, v]) => v !== undefined && v !== null);
    this.delivery.replaceChildren(h('h2', {}, 'Delivery', h('span.grow'), h('span.chip', {}, h('b', { text: `${ms(total)} ms` }), 'to frame')),
      h('div.stackbar', { role: 'img', 'aria-label': `Time per stage: ${list.map(([k, v]) => `${k} ${ms(v)}`).join(', ')}` }, list.map(([k, v]) => h('i', { title: `${k} ${ms(v)} ms`, vars: { '--c': `var(--st-${k})`, '--v': v } }))),
      h('div.legend', {}, list.filter(([, v]) => v >= total / 20).map(([k, v]) => h('span', {}, h('i', { vars: { '--c': `var(--st-${k})` } }), `${k} `, h('b', { text: ms(v) })))),
      h('div.legend', {}, facts.map(([k, v]) => h('span', {}, `${k} `, h('b', { text: String(v) })))));
  }
}

customElements.define('ts-inspector', TsInspector);
