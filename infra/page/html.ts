import type { Inlined } from "./types.ts";

/** Text that is HTML already: made by this file alone. */
class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type { Markup };

type Content = Markup | string | number | null | readonly Content[];

/** Control characters, and those that turn the direction of the text after them: shown as U+FFFD. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Any text as text of an element or as a quoted attribute. */
export function escaped(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(UNSEEN, "\ufffd")
    .replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}

/** HTML of a template: every text and number that is put in is escaped, `null` is nothing, lists are joined. */
export function html(parts: TemplateStringsArray, ...contents: Content[]): Markup {
  return new Markup(parts.map((part, index) => part + textOf(contents[index] ?? null)).join(""));
}

/** The page's own style or script, which its policy knows by the digest: nothing else goes in as it is. */
export function verbatim({ text }: Inlined): Markup {
  return new Markup(text);
}

function textOf(content: Content): string {
  if (content === null) return "";
  if (content instanceof Markup) return content.text;
  if (typeof content === "object") return content.map(textOf).join("");
  return escaped(String(content));
}
