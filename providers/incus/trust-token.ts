import { z } from "zod";

/** What a trust token of `incus config trust add` says in clear (shared/api, CertificateAddToken). */
export interface TrustToken {
  /** SHA-256 fingerprint of the server's certificate. */
  fingerprint: string;
  /** `host:port` at which the server says it is. */
  addresses: string[];
}

const Content = z.object({
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  addresses: z.array(z.string()).nullable().default([]),
  secret: z.string().min(1),
});

/** Reads a trust token; undefined where the text is none. */
export function parseTrustToken(text: string): TrustToken | undefined {
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(text, "base64").toString());
  } catch {
    return undefined;
  }
  const { data } = Content.safeParse(content);
  return data && { fingerprint: data.fingerprint, addresses: data.addresses ?? [] };
}
