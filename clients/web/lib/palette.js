/** The command palette: pages, streams, tensors, models, actions; fuzzy on word starts, recent first. */
import { h, icon } from './h.js';
import { api, setting, state } from './store.js';

/* Every typed character must be found in order; starts of words and runs of characters count more. */
function score(text, query) {
  const t = text.toLowerCase();
  let at = -1, sum = 0;
  for (const ch of query) {
    if (ch === ' ') continue;
    const i = t.indexOf(ch, at + 1);
    if (i < 0) return -1;
    sum += i === at + 1 ? 3 : i === 0 || /[\s._-]/.test(t[i - 1]) ? 2 : 0;
    at = i;
  }
  return sum - t.length / 100;
}

export function open(shell, nav, toggleTheme, current, signOut) {
  const items = [
    ...(current?.commands?.() || []),
    ...state.streams.map((s) => ['box', `Open ${s.name}`, `#/stream/${s.name}`]),
    ...nav.flatMap(([, ...i]) => i.map(([ic, text, key]) => [ic, `Go to ${text}`, `#/${key}`])),
    ['sun', 'Switch theme', toggleTheme, 'T'],
    ...(signOut ? [['x', 'Sign out', signOut]] : []),
  ];
  const recent = (setting('recent') || '').split('\n');
  const ul = h('ul', { role: 'listbox', id: 'pal-list', 'aria-label': 'Matches' }), input = h('input', { placeholder: 'Go to, open, or do…', 'aria-label': 'Command', role: 'combobox', 'aria-expanded': 'true', 'aria-controls': 'pal-list', 'aria-autocomplete': 'list' });
  const d = h('dialog.pal', { 'aria-label': 'Commands' }, input, ul);
  let sel = 0, found = [];
  const run = (item, tab) => {
    d.close();
    setting('recent', [item[1], ...recent.filter((r) => r && r !== item[1])].slice(0, 8).join('\n'));
    if (typeof item[2] !== 'string') item[2]();
    else if (tab) window.open(item[2]);
    else shell.go(item[2]);
  };
  const draw = () => {
    const q = input.value.trim().toLowerCase();
    found = items.map((i) => [q ? score(i[1], q) : 0, i]).filter(([s]) => s >= 0)
      .sort((a, b) => b[0] - a[0] || rank(a[1]) - rank(b[1])).slice(0, 40).map(([, i]) => i);
    sel = Math.max(0, Math.min(sel, found.length - 1));
    ul.replaceChildren(...found.map((i, k) => h('li', { role: 'option', id: `pal-${k}`, 'aria-selected': String(k === sel), onclick: () => run(i) }, icon(i[0]), i[1], i[3] && h('span.kbd', { text: i[3] }))));
    if (!found.length) ul.append(h('li', { role: 'option', 'aria-selected': 'false' }, 'Nothing matches. Try a stream’s name.'));
    input.setAttribute('aria-activedescendant', found.length ? `pal-${sel}` : '');
    ul.children[sel]?.scrollIntoView({ block: 'nearest' });
  };
  const rank = (i) => { const r = recent.indexOf(i[1]); return r < 0 ? 99 : r; };
  input.addEventListener('input', () => { sel = 0; draw(); });
  input.addEventListener('keydown', (e) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (move) { sel += move; draw(); e.preventDefault(); } else if (e.key === 'Enter' && found[sel]) { e.preventDefault(); run(found[sel], e.ctrlKey || e.metaKey); }
  });
  d.addEventListener('click', (e) => { if (e.target === d) d.close(); });
  d.addEventListener('close', () => d.remove());
  document.body.append(d);
  d.showModal();
  input.focus();
  draw();
  Promise.all(['tensors', 'models', 'runs'].map((k) => api.get(`v1/${k}`).then((r) => r[k] || []).catch(() => []))).then(([tensors, models, runs]) => {
    for (const t of tensors.slice(0, 500)) items.push(['tensor', `Tensor ${t.name}`, `#/tensors?open=${t.name}`]);
    for (const m of models) items.push(['layers', `Model ${m.name}`, `#/models/${m.name}`]);
    for (const r of runs) items.push(['filter', `Run ${r.name}`, `#/live?q=${r.name}`]);
    if (d.isConnected) draw();
  });
}
