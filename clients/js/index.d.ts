/** Types of the tensorscope client. */
export type Dtype = 'bool' | 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'u64' | 'i64' | 'f16' | 'bf16' | 'f32' | 'f64';
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type View = { [key: string]: Json };

export interface FrameHeader {
  type: 'frame';
  stream: string;
  /** Grows; a gap is a dropped frame. */
  seq: number;
  step: number;
  /** Seconds, the source's time. */
  t: number;
  width: number;
  height: number;
  codec: 'webp' | 'webp-lossless' | 'png' | 'raw';
  key: boolean;
  range: [number, number] | null;
  metrics?: { [key: string]: Json };
  base?: number;
  /** x, y, width, height, offset, length of each picture of a delta. */
  rects?: [number, number, number, number, number, number][];
  [key: string]: unknown;
}

export interface Message<H = { type: string; [key: string]: unknown }> {
  header: H;
  payload: Uint8Array;
}

/** Split a binary message. Throws RangeError on a truncated one, TypeError on a malformed one. */
export function decodeFrame(data: ArrayBuffer | ArrayBufferView): Message;
export function encodeFrame(header: { type: string; [key: string]: unknown }, payload?: ArrayBuffer | ArrayBufferView): Uint8Array;
export function dtypeOf(array: unknown): Dtype | undefined;

export interface Frame extends Message<FrameHeader> {
  seq: number;
  step: number;
  width: number;
  height: number;
}

export interface SubscribeOptions {
  quality?: number | 'auto';
  tier?: 'auto' | 'lossless' | 'high' | 'medium' | 'low';
  max_fps?: number;
  scale?: number;
  delta?: 0 | 1;
}

export interface PushOptions {
  shape?: number[];
  dtype?: Dtype;
  step?: number;
  t?: number;
  encoding?: 'image/webp' | 'image/png' | 'image/jpeg';
}

export interface Stream {
  readonly name: string;
  frames(): AsyncGenerator<Frame, void, void>;
  view(patch: View, scope?: 'me' | 'all'): Promise<Json>;
  output(patch: View): Promise<Json>;
  probe(x: number, y: number): Promise<{ index: number[] | null; value: Json }>;
  pause(): boolean;
  resume(): boolean;
  live(): boolean;
  seek(point: number | { step: number } | { seq: number } | { age: number }): boolean;
  latent(z: Iterable<number>, id?: number): boolean;
  push(array: ArrayBufferView, options?: PushOptions): boolean;
  metrics(): Promise<Json>;
  record(options?: { format?: 'mp4' | 'webm' | 'webp' | 'png' | 'npy'; fps?: number; quality?: number; max_seconds?: number }): Promise<{ id: string }>;
  close(): void;
}

export interface TensorInfo {
  name: string;
  dtype: Dtype;
  shape: number[];
  nbytes: number;
  version: number;
  device: Json;
}

/** Events: `hello`, `metrics`, `event`, `error`, `state` (CustomEvent-like, with `detail`). */
export interface Scope extends EventTarget {
  readonly api: Api;
  stream(name: string, options?: SubscribeOptions): Stream;
  put(name: string, array: ArrayBufferView & { length: number }, options?: { shape?: number[]; dtype?: Dtype; step?: number; t?: number; run?: string }): Promise<TensorInfo>;
  close(): void;
}

export function connect(url: string | URL, options?: { token?: string; WebSocket?: unknown }): Scope;

/** An error of the server (RFC 9457). */
export class Problem extends Error {
  status: number;
  code: string;
  title: string;
  body: { [key: string]: Json };
  retry_after_s?: number;
}

export class Api {
  constructor(base: string | URL, token?: string);
  url(path: string): string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  json(method: string, path: string, body?: unknown): Promise<any>;
  get(path: string): Promise<any>;
  upload(method: string, path: string, body: Blob | BufferSource, type: string, onProgress?: (sent: number, total: number) => void, signal?: AbortSignal): Promise<any>;
  address(path: string, under?: string): Promise<string>;
  events(onEvent: (e: any) => void, signal: AbortSignal, query?: string): Promise<void>;
}

export class Link extends EventTarget {
  constructor(base: string, token: string, options?: { worker?: boolean });
  show(stream: string, canvas: HTMLCanvasElement, options?: { options?: SubscribeOptions; every?: number; onFrame?: (frame: any) => void }): { key: number; options(o: SubscribeOptions): void; freeze(v: boolean): void; close(): void };
  send(stream: string, message: { type: string; [key: string]: unknown }): void;
  request(stream: string, message: { type: string; [key: string]: unknown }): Promise<any>;
  push(header: { type: string; [key: string]: unknown }, payload: Uint8Array): void;
  close(): void;
}

export class Session {
  constructor(options: { url(): string | Promise<string>; onText(message: any): void; onFrame(header: FrameHeader, payload: Uint8Array): void; onState?(state: { state: string }): void; onRtt?(ms: number): void; WebSocket?: unknown });
  subscribe(stream: string, options?: SubscribeOptions): void;
  unsubscribe(stream: string): void;
  send(message: { type: string; [key: string]: unknown }): boolean;
  request(message: { type: string; [key: string]: unknown }, timeout_ms?: number): Promise<any>;
  ack(header: FrameHeader, decode_ms?: number): void;
  push(header: { type: string; [key: string]: unknown }, payload?: ArrayBufferView): boolean;
  close(): void;
}

export class Socket {
  constructor(options: { url(): string | Promise<string>; onText(message: any): void; onBinary(data: ArrayBuffer): void; onState?(state: { state: string }): void; WebSocket?: unknown });
  open(): Promise<void>;
  kick(): void;
  send(data: unknown): boolean;
  close(): void;
}

export function flatten(object: View): { [dotted: string]: Json };
export function unflatten(pairs: { [dotted: string]: Json }): View;
export function diff(base: View, view: View): { [dotted: string]: Json };
export function mergePatch(target: Json, patch: Json): Json;
export function toQuery(pairs: { [key: string]: Json | undefined }): string;
