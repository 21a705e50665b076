import { randomBytes } from "node:crypto";

/** Opcodes of RFC 6455, section 5.2, as far as Incus uses them. */
const continuation = 0x0;
const text = 0x1;
const close = 0x8;
const ping = 0x9;
const pong = 0xa;

/** What a chunk of a server's byte stream completed. */
export type Received = { texts: string[]; pings: number; pongs: number; closed: boolean };

/** Reads the unmasked frames a websocket server sends; enough for an event stream, where no library reaches a Unix socket. */
export class FrameReader {
  #buffer = Buffer.alloc(0);
  #fragments: Buffer[] = [];

  push(chunk: Buffer): Received {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    const received: Received = { texts: [], pings: 0, pongs: 0, closed: false };
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) {
      if (frame.opcode === ping) received.pings++;
      if (frame.opcode === pong) received.pongs++;
      if (frame.opcode === close) received.closed = true;
      if (frame.opcode !== text && frame.opcode !== continuation) continue;
      this.#fragments.push(frame.payload);
      if (!frame.final) continue;
      received.texts.push(Buffer.concat(this.#fragments).toString("utf8"));
      this.#fragments = [];
    }
    return received;
  }

  #next(): { opcode: number; final: boolean; payload: Buffer } | undefined {
    const buffer = this.#buffer;
    const [first, second] = buffer;
    if (first === undefined || second === undefined) return undefined;
    const short = second & 0x7f;
    const header = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (buffer.length < header) return undefined;
    const length =
      short === 126 ? buffer.readUInt16BE(2) : short === 127 ? Number(buffer.readBigUInt64BE(2)) : short;
    if (buffer.length < header + length) return undefined;
    this.#buffer = buffer.subarray(header + length);
    return {
      opcode: first & 0x0f,
      final: (first & 0x80) !== 0,
      payload: buffer.subarray(header, header + length),
    };
  }
}

/** An empty, masked ping frame, as clients must send it. */
export function pingFrame(): Buffer {
  return Buffer.concat([Buffer.from([0x89, 0x80]), randomBytes(4)]);
}

/** The answer to a server's ping; Incus ends a stream that leaves three of them unanswered, one every 10 s. */
export function pongFrame(): Buffer {
  return Buffer.concat([Buffer.from([0x8a, 0x80]), randomBytes(4)]);
}
