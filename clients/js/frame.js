/**
 * The framing of binary messages: u32 little-endian N, N bytes of JSON header, payload.
 * Everything here runs in a page, in a worker and in Node, and touches nothing but its arguments.
 */

const HEADER_MAX = 1 << 20; /* a header is a few hundred bytes; more is not a frame */
const SIDE_MAX = 16383;
const utf8 = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

/** @typedef {{type: string, [key: string]: any}} Header */

const whole = (v, min, max) => Number.isInteger(v) && v >= min && v <= max;

/** Check what a picture's header promises before anybody computes with it. */
function checkFrame(header, bytes) {
  if (!whole(header.width, 1, SIDE_MAX) || !whole(header.height, 1, SIDE_MAX))
    throw new RangeError(`frame size ${header.width}x${header.height} is outside 1..${SIDE_MAX}`);
  if (!whole(header.seq, 0, Number.MAX_SAFE_INTEGER))
    throw new RangeError(`frame seq ${header.seq} is not a whole number`);
  if (header.codec === 'raw' && !header.rects && bytes !== header.width * header.height * 3)
    throw new RangeError(`raw frame has ${bytes} bytes, its size needs ${header.width * header.height * 3}`);
  if (header.rects === undefined) return;
  if (!Array.isArray(header.rects)) throw new TypeError('rects is not a list');
  for (const r of header.rects) {
    const ok = Array.isArray(r) && r.length === 6 && r.every((v) => whole(v, 0, Number.MAX_SAFE_INTEGER)) &&
      r[2] > 0 && r[3] > 0 && r[0] + r[2] <= header.width && r[1] + r[3] <= header.height && r[4] + r[5] <= bytes;
    if (!ok) throw new RangeError(`rectangle ${JSON.stringify(r)} lies outside its frame or payload`);
  }
}

/**
 * Split a binary message. The payload is a view into `data`, not a copy.
 * Throws RangeError on a truncated message and TypeError on a malformed one.
 * @param {ArrayBuffer | ArrayBufferView} data
 * @returns {{header: Header, payload: Uint8Array}}
 */
export function decodeFrame(data) {
  const bytes = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : data instanceof ArrayBuffer || Object.prototype.toString.call(data) === '[object ArrayBuffer]'
      ? new Uint8Array(data) : null;
  if (!bytes) throw new TypeError('decodeFrame takes an ArrayBuffer or a view of one');
  if (bytes.length < 4) throw new RangeError(`message of ${bytes.length} bytes has no header length`);
  const n = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  if (n > HEADER_MAX) throw new RangeError(`header of ${n} bytes is larger than ${HEADER_MAX}`);
  if (n > bytes.length - 4) throw new RangeError(`header of ${n} bytes, but only ${bytes.length - 4} follow`);
  let header;
  try {
    header = JSON.parse(utf8.decode(bytes.subarray(4, 4 + n)));
  } catch (e) {
    throw new TypeError(`header is not JSON: ${/** @type {Error} */ (e).message}`);
  }
  if (header === null || typeof header !== 'object' || Array.isArray(header) || typeof header.type !== 'string')
    throw new TypeError('header is not an object with a type');
  const payload = bytes.subarray(4 + n);
  if (header.type === 'frame' && header.width !== undefined) checkFrame(header, payload.length);
  return { header, payload };
}

/**
 * Build a binary message.
 * @param {Header} header
 * @param {ArrayBuffer | ArrayBufferView} [payload]
 * @returns {Uint8Array}
 */
export function encodeFrame(header, payload = new Uint8Array(0)) {
  const body = ArrayBuffer.isView(payload)
    ? new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength) : new Uint8Array(payload);
  const head = encoder.encode(JSON.stringify(header));
  const out = new Uint8Array(4 + head.length + body.length);
  new DataView(out.buffer).setUint32(0, head.length, true);
  out.set(head, 4);
  out.set(body, 4 + head.length);
  return out;
}

const DTYPES = {
  Uint8Array: 'u8', Uint8ClampedArray: 'u8', Int8Array: 'i8', Uint16Array: 'u16', Int16Array: 'i16', Uint32Array: 'u32',
  Int32Array: 'i32', BigUint64Array: 'u64', BigInt64Array: 'i64', Float32Array: 'f32', Float64Array: 'f64', Float16Array: 'f16',
};

/** The dtype word of a typed array, or undefined. @param {any} array */
export const dtypeOf = (array) => DTYPES[array?.constructor?.name];
