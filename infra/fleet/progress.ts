import { clearScreenDown, cursorTo, moveCursor } from "node:readline";
import type { HostResult } from "./outcome.ts";

/** What of a stream it needs; only a terminal has columns. */
type Terminal = NodeJS.WritableStream & { isTTY?: boolean; columns?: number };

/** Tells on stderr what goes on: at a terminal a line for each host that runs, kept up to date; else a line for each event. */
export class Progress {
  readonly #stream: Terminal;
  readonly #running = new Map<string, { what: string; since: number; line: string }>();
  #shown = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: Terminal = process.stderr) {
    this.#stream = stream;
  }

  /** A host's run begins. */
  start(host: string, what: string): void {
    this.#running.set(host, { what, since: Date.now(), line: "" });
    if (!this.#stream.isTTY) this.#stream.write(`${host}: ${what}\n`);
    else this.#timer ??= setInterval(() => this.#draw(), 250);
  }

  /** What its run says. */
  line(host: string, text: string): void {
    const running = this.#running.get(host);
    if (running && text.trim() !== "") running.line = text.trim();
  }

  /** A host is done with. */
  end({ host, outcome, reason, seconds }: HostResult): void {
    this.#running.delete(host);
    this.note(`${host}: ${outcome}${seconds === null ? "" : ` in ${seconds} s`}: ${reason}`);
  }

  /** A line that stays. */
  note(text: string): void {
    this.#clear();
    this.#stream.write(`${text}\n`);
    this.#draw();
  }

  /** Nothing runs any more. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#clear();
  }

  #draw(): void {
    if (!this.#stream.isTTY || this.#timer === undefined) return;
    this.#clear();
    const width = Math.max(20, this.#stream.columns ?? 80) - 1;
    for (const [host, { what, since, line }] of this.#running) {
      const seconds = Math.round((Date.now() - since) / 1_000);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may move the cursor.
      const text = `${host}  ${what}  ${seconds} s  ${line}`.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, " ");
      this.#stream.write(`${text.slice(0, width).trimEnd()}\n`);
      this.#shown += 1;
    }
  }

  #clear(): void {
    if (this.#shown === 0) return;
    moveCursor(this.#stream, 0, -this.#shown);
    cursorTo(this.#stream, 0);
    clearScreenDown(this.#stream);
    this.#shown = 0;
  }
}
