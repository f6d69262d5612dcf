/** Frames of this machine's camera, sent to a stream; at most two are on their way at any time. */

const UNACKED = 2;

/**
 * @param {import('./api.js').Link} link
 * @param {string} stream the stream that takes them
 * @param {{video: HTMLVideoElement, width?: number, height?: number, fps?: number, encoding?: 'rgba'|'webp', quality?: number}} options
 */
export async function startCamera(link, stream, options) {
  const { video, width = 640, height = 360, fps = 30, encoding = 'rgba', quality = 0.8 } = options;
  const media = await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: fps }, audio: false });
  video.srcObject = media;
  video.muted = true;
  video.playsInline = true;
  await video.play();
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext('2d', { willReadFrequently: true });
  const stats = { sent: 0, skipped: 0, answered: 0 };
  let stopped = false, step = 0, timer = 0;

  const send = async () => {
    context.drawImage(video, 0, 0, width, height);
    const header = { type: 'frame', stream, step: step++, t: Date.now() / 1000 };
    if (encoding === 'webp') {
      const blob = await canvas.convertToBlob({ type: 'image/webp', quality });
      link.push({ ...header, encoding: 'image/webp' }, new Uint8Array(await blob.arrayBuffer()));
    } else {
      const { data } = context.getImageData(0, 0, width, height);
      link.push({ ...header, dtype: 'u8', shape: [height, width, 4] }, new Uint8Array(data.buffer));
    }
    stats.sent++;
  };
  const tick = () => {
    if (stopped) return;
    if (stats.sent - stats.answered < UNACKED) send();
    else stats.skipped++;
    timer = setTimeout(tick, 1000 / fps);
  };
  tick();
  return {
    stats,
    /** A frame of the answering stream came: its step tells how far the server is. */
    answered(seenStep) { stats.answered = Math.max(stats.answered, Math.min(stats.sent, seenStep + 1)); },
    /** Forget what was in flight, after a reconnect. */
    reset() { stats.answered = stats.sent; },
    stop() {
      stopped = true;
      clearTimeout(timer);
      for (const track of media.getTracks()) track.stop();
      video.srcObject = null;
    },
  };
}
