/** Delta frames: rectangles over the picture that was drawn last (header keys `base` and `rects`). */

/** The pictures of a delta, each with its place. @returns {{x: number, y: number, w: number, h: number, data: Uint8Array}[]} */
export function rectangles(header, payload) {
  return header.rects.map(([x, y, w, h, offset, length]) => ({ x, y, w, h, data: payload.subarray(offset, offset + length) }));
}

/**
 * Draw a delta. All rectangles are decoded before the first is drawn, so that no half of it is ever seen.
 * @param {(bytes: Uint8Array) => Promise<ImageBitmap>} decode
 */
export async function applyDelta(context, header, payload, decode) {
  const rects = rectangles(header, payload);
  const bitmaps = await Promise.all(rects.map((r) => decode(r.data)));
  bitmaps.forEach((b, i) => {
    context.drawImage(b, rects[i].x, rects[i].y);
    b.close();
  });
}
