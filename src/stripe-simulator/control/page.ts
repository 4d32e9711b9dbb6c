// The page at /_simulator/: what this stand-in holds, for a person to look at. Rendered here, no script, nothing to click but links.
import { at } from "./html.ts";
import {
  customerSection,
  draftSection,
  eventSection,
  faultSection,
  invoiceSection,
  meterEventSection,
  meterSection,
  type PageView,
  requestSection,
  settingSection,
  streamSection,
  subscriptionSection,
  webhookSection,
} from "./page-sections.ts";

const SECTIONS = [
  faultSection,
  meterSection,
  draftSection,
  subscriptionSection,
  invoiceSection,
  customerSection,
  webhookSection,
  streamSection,
  meterEventSection,
  eventSection,
  requestSection,
  settingSection,
];

/** HTML that names itself simulated wherever one looks. */
export function renderPage(view: PageView): string {
  const sections = SECTIONS.map((render) => render(view));
  const { frozenAtMs } = view.account.clockSetting;
  const links = sections.map(
    ({ title, count }) => `<a href="#${idOf(title)}">${title}${count === undefined ? "" : ` <b>${count}</b>`}</a>`,
  );
  const bodies = sections.map(({ title, html }) => `<section id="${idOf(title)}"><h2>${title}</h2>\n${html}</section>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>SIMULATED Stripe</title><style>${STYLE}</style></head><body>
<header><strong>SIMULATED</strong><h1>Stripe account</h1>
<p>Nothing here is real: no money, no customer. It is <time>${at(view.nowMs)}</time> UTC for the simulator${
    frozenAtMs === null ? "" : ", and time stands still"
  }.</p></header>
<nav>${links.join("\n")}</nav>
<main>${bodies.join("\n")}</main>
</body></html>
`;
}

function idOf(title: string): string {
  return title.toLowerCase().replaceAll(" ", "-");
}

const STYLE = `
:root{--text:#1c1e21;--soft:#5c6470;--line:#d9dde3;--shade:#f3f5f8;--page:#fff;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--text:#e4e7ec;--soft:#98a2b3;--line:#343a44;--shade:#1c2028;--page:#12151a;--link:#8ab4f8}}
*{box-sizing:border-box}
body{font:14px/1.5 system-ui,sans-serif;margin:0;color:var(--text);background:var(--page)}
header{position:sticky;top:0;display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:center;padding:.5rem 1.5rem;
background:var(--page);border-bottom:3px solid #c62828;z-index:1}
header strong{background:#c62828;color:#fff;padding:.1rem .6rem;letter-spacing:.08em}
header p,h1{margin:0;font-size:1rem}header p{color:var(--soft)}time{color:var(--text);font-variant-numeric:tabular-nums}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:.8rem 1.5rem;background:var(--shade);border-bottom:1px solid var(--line)}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}nav b{color:var(--text)}
main{padding:0 1.5rem 3rem;max-width:90rem}section{scroll-margin-top:4rem}
h2{font-size:1.1rem;margin:1.8rem 0 .5rem}h3{font-size:.95rem;margin:1rem 0 .4rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;min-width:30rem}
th,td{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}td{font-variant-numeric:tabular-nums}.number{text-align:right}
.none{color:var(--soft);margin:.3rem 0}`;
