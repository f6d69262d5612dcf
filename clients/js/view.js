/** View objects and their dotted query keys: `{normalize: {lo: 0}}` is `normalize.lo=0`. */

const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);
/* Objects that the server replaces whole: their parts mean nothing alone. */
const WHOLE = new Set(['colormap', 'source']);

/** Deep equality of JSON values. */
export function same(a, b) {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((v, i) => same(v, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => k in b && same(a[k], b[k]));
}

/** RFC 7396, without changing its arguments; colormap and source are replaced whole. */
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  const out = isObject(target) ? { ...target } : {};
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) delete out[k];
    else out[k] = WHOLE.has(k) ? v : mergePatch(out[k], v);
  }
  return out;
}

/** `{a: {b: 1}, c: [2]}` → `{"a.b": 1, "c": [2]}`. */
export function flatten(object, prefix = '', out = {}) {
  for (const [k, v] of Object.entries(object || {})) {
    if (isObject(v) && Object.keys(v).length) flatten(v, `${prefix}${k}.`, out);
    else out[prefix + k] = v;
  }
  return out;
}

/** The value at a dotted path, or undefined. */
export function getPath(object, path) {
  let at = object;
  for (const k of path.split('.')) {
    if (!isObject(at) || !Object.hasOwn(at, k)) return undefined;
    at = at[k];
  }
  return at;
}

/** A nested object with one value: `nest("a.b", 1)` → `{a: {b: 1}}`. */
export function nest(path, value) {
  return path.split('.').reduceRight((v, k) => ({ [k]: v }), value);
}

/** A text of a query as the value it stands for: numbers, booleans, lists and objects are JSON. */
export function parseValue(text) {
  if (/^(-?\d|\[|\{|true$|false$|null$|")/.test(text)) {
    try { return JSON.parse(text); } catch { /* a word such as 3d */ }
  }
  return text;
}

/** A value as the text of a query. */
export const formatValue = (v) => (typeof v === 'string' && parseValue(v) === v ? v : JSON.stringify(v));

/** Dotted pairs → one object. Later pairs win. */
export function unflatten(pairs) {
  let out = {};
  for (const [k, v] of Object.entries(pairs)) out = mergePatch(out, nest(k, v));
  return out;
}

/** What turns `base` into `view`, as dotted pairs; a key that `view` lacks is null. */
export function diff(base, view) {
  const a = flatten(base), b = flatten(view), out = {};
  for (const k of Object.keys(b)) if (!same(a[k], b[k])) out[k] = b[k];
  for (const k of Object.keys(a)) {
    const replaced = Object.keys(b).some((q) => q === k || q.startsWith(`${k}.`) || k.startsWith(`${q}.`));
    if (!(k in b) && !replaced) out[k] = null;
  }
  return out;
}

/** The inner `view` of a view object folded into it, as the server does. */
export function fold(view) {
  const { view: inner, ...rest } = view || {};
  return isObject(inner) ? { ...inner, ...rest } : rest;
}

/** A query string of dotted keys in the order given, `?` not included. */
export function toQuery(pairs) {
  return Object.entries(pairs).filter(([, v]) => v !== undefined && v !== null)
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(formatValue(v)).replace(/%2C/g, ',').replace(/%3A/g, ':')}`)
    .join('&');
}
