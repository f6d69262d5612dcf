/** Short words at the edge: for what the person started, or what broke under their eyes. */
import { $, btn, h } from './h.js';

const MOST = 3;

/** @param {'live'|'warn'|'err'|'idle'} kind */
export function toast(kind, title, text, action, ms) {
  const box = $('#toasts'), close = () => t.remove();
  const t = h('div.toast', {}, h(`i.dot.${kind}`), h('div.grow', {}, h('b', { text: title }), text && h('span.mid', { text })),
    action && h('button.btn', { type: 'button', onclick: () => { close(); action.on(); } }, action.text), kind === 'err' && btn('x', 'Dismiss', { quiet: 1, on: close }));
  box.append(t);
  while (box.children.length > MOST) box.firstChild.remove();
  if (kind === 'err') $('#alerts').textContent = `${title}. ${text || ''}`;
  else setTimeout(close, ms || 5000);
}

const WORDS = {
  403: (e) => (/scope/.test(e.message) ? e.message : `Not allowed: ${e.message}`),
  429: (e) => `Server is busy${e.retry_after_s ? `, try again in ${e.retry_after_s} s` : ''}. ${e.message}`,
};

/** Say what failed, why, and what helps. */
export function failed(shell, what, e) {
  const text = WORDS[e?.status]?.(e) || e?.message || 'No answer from the server.';
  toast('err', what, text, e?.status === 507 && { text: 'See memory', on: () => shell.go('#/system') });
}
