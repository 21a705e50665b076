import { controls } from "./controls.ts";
import { hostSection } from "./host-section.ts";
import { html, type Markup, verbatim } from "./html.ts";
import { overview } from "./overview.ts";
import type { Inlined, PageData } from "./types.ts";
import { countOf, moment } from "./words.ts";

/**
 * One HTML file that needs nothing else: what each host is and would become. All that comes from hosts and config is
 * text in it; the policy in its head lets nothing run, load or connect but the page's own style and script. Pure.
 */
export function pageOf({ title, madeAt, hosts }: PageData, style: Inlined, script: Inlined): string {
  const containers = hosts.reduce((sum, { plan }) => sum + plan.containers.length, 0);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${verbatim(style)}</style>
</head>
<body>
<a class="skip" href="#sections">Skip to the hosts</a>
<header>
<h1>${title}</h1>
<p>${countOf(hosts.length, "host")}, ${countOf(containers, "container")}; looked at ${moment(madeAt)}</p>
</header>
${controls(hosts)}
<main>
${hosts.length > 1 ? overview(hosts) : null}<div id="sections" tabindex="-1">
${hosts.map(hostSection)}</div>
</main>
<footer>
<p>Pool bars: ${swatch("held")} containers, ${swatch("used")} in use, ${swatch("free")} free, ${swatch("short")} free in the pool but not on the host under its loop file, ${swatch("unknown")} unknown.</p>
</footer>
<script type="module">${verbatim(script)}</script>
</body>
</html>
`.text;
}

/** The Content-Security-Policy. */
function policy(style: Inlined, script: Inlined): string {
  return [
    "default-src 'none'",
    `style-src '${style.hash}'`,
    `script-src '${script.hash}'`,
    ...[
      "base-uri 'none'",
      "form-action 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ],
  ].join("; ");
}

function swatch(kind: string): Markup {
  return html`<svg class="swatch" aria-hidden="true"><rect class="${kind}" width="100%" height="100%"/></svg>`;
}
