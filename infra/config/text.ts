const LONGEST = 60;

/** A value for a message, in quotes and cut: nobody reads 5,000 characters. Control characters become visible. */
export function quote(text: string): string {
  return JSON.stringify(shorten(text));
}

/** The text itself, cut after 60 characters. */
function shorten(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}… (${text.length} characters)`;
}

/** A path such as `optIn.migrate[0]`, each part cut. */
export function configPath(parts: readonly PropertyKey[]): string {
  return parts
    .map((part) => {
      if (typeof part === "number") return `[${part}]`;
      const text = JSON.stringify(shorten(String(part))).slice(1, -1);
      return `.${text}`;
    })
    .join("")
    .replace(/^\./, "");
}
