"""How the page looks: one style sheet, for light and dark, wide and narrow."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --raised: #f6f7f9; --line: #dfe3e8; --text: #1b1f24; --quiet: #5b6470;
  --true: #0f766e; --false: #c2410c; --heat: 15 118 110; --wrong: 194 65 12;
  --m0: #0b62c4; --m1: #c2410c; --m2: #0f766e; --m3: #8e3fa8; --m4: #8a6d00; --m5: #be185d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --raised: #1d2127; --line: #343a43; --text: #e8eaed; --quiet: #a3acb8;
    --true: #2dd4bf; --false: #fb923c; --heat: 45 212 191; --wrong: 251 146 60;
    --m0: #6cb2ff; --m1: #fb923c; --m2: #2dd4bf; --m3: #d8a2ee; --m4: #e3c447; --m5: #f78fb9;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.6rem, 5vw, 2.2rem); line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.015em; }
h2 { font-size: 1.35rem; margin: 3.25rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .35rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { color: var(--quiet); font-size: 1.05rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 1rem 0 0; font-size: .95rem; }
a { color: var(--m0); }
.note { color: var(--quiet); font-size: .92rem; }
.warning { border-left: 4px solid var(--false); background: var(--raised); padding: .7rem 1rem; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); margin: 1.5rem 0; }
.tile { background: var(--raised); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.9rem; line-height: 1.2; font-variant-numeric: tabular-nums; font-weight: 650; }
.tile span { color: var(--quiet); font-size: .85rem; display: block; line-height: 1.4; }
.tile.first { border-color: var(--m0); box-shadow: inset 0 0 0 1px var(--m0); }
.tile.first b { color: var(--m0); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .6rem 2rem; margin: 1rem 0; }
.facts div { min-width: 0; }
dt { color: var(--quiet); font-size: .82rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; min-width: 50%; }
caption { text-align: left; color: var(--quiet); font-size: .88rem; padding-bottom: .4rem; }
th, td { padding: .38rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
thead th:first-child, thead th.words { text-align: left; }
th:first-child { padding-left: 0; }
caption span { display: block; max-width: calc(100vw - 2.5rem); }
th[scope=row] { text-align: left; font-weight: 600; max-width: 18rem; white-space: normal; overflow-wrap: break-word; }
td.words { text-align: left; white-space: normal; min-width: 16rem; color: var(--quiet); }
td small, th small { display: block; color: var(--quiet); font-weight: 400; }
td.bar { background: linear-gradient(rgb(var(--heat)), rgb(var(--heat))) left bottom / var(--share) 3px no-repeat; }
td.bar.broad { min-width: 8rem; text-align: left; background-color: transparent; background-size: var(--share) 100%;
  background-image: linear-gradient(rgb(var(--wrong) / .28), rgb(var(--wrong) / .28)); }
td.heat { background: rgb(var(--heat) / var(--share)); }
td.wrong { background: rgb(var(--wrong) / var(--share)); }
td.heat small, td.wrong small { color: inherit; opacity: .8; }
tfoot th, tfoot td { border-top: 2px solid var(--line); font-weight: 600; }
.difference { color: var(--quiet); font-size: .85em; margin-left: .4em; }
.difference.better { color: var(--true); } .difference.worse { color: var(--false); }
.charts { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.charts.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--quiet); font-size: .88rem; line-height: 1.45; margin-top: .3rem; overflow-wrap: anywhere; }
figcaption strong { color: var(--text); }
svg.chart { width: 100%; height: auto; display: block; overflow: visible; }
svg text { fill: var(--quiet); font-size: 11.5px; font-family: inherit; }
svg .title { fill: var(--text); font-size: 13.5px; font-weight: 600; }
svg .side { font-size: 12.5px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .frame { stroke: var(--quiet); stroke-width: 1; fill: none; }
svg .ideal { stroke: var(--quiet); stroke-width: 1.2; stroke-dasharray: 4 4; fill: none; }
svg .series { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .thin { stroke-width: 1.2; opacity: .75; }
svg .dot { stroke: var(--page); stroke-width: 1.5; }
svg .soft { opacity: .35; }
svg .yes { fill: var(--true); } svg .no { fill: var(--false); }
.s0 { stroke: var(--m0); } .s1 { stroke: var(--m1); stroke-dasharray: 7 3; }
.s2 { stroke: var(--m2); stroke-dasharray: 2 3; }
.s3 { stroke: var(--m3); stroke-dasharray: 9 3 2 3; } .s4 { stroke: var(--m4); stroke-dasharray: 4 2; }
.s5 { stroke: var(--m5); stroke-dasharray: 12 4; }
.f0 { fill: var(--m0); } .f1 { fill: var(--m1); } .f2 { fill: var(--m2); }
.f3 { fill: var(--m3); } .f4 { fill: var(--m4); } .f5 { fill: var(--m5); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; list-style: none; padding: 0; margin: .6rem 0 1rem;
  font-size: .92rem; }
.legend li { display: flex; align-items: center; gap: .5rem; overflow-wrap: anywhere; }
.legend svg { width: 2.2rem; height: .9rem; flex: none; }
.legend .series { stroke-width: 3; fill: none; }
.swatch { width: .9rem; height: .9rem; border-radius: .2rem; flex: none; }
.swatch.yes { background: var(--true); } .swatch.no { background: var(--false); }
.gallery { display: grid; gap: 1.1rem 1rem; grid-template-columns: repeat(auto-fill, minmax(min(46%, 13rem), 1fr));
  margin: 1rem 0; }
.cut { position: relative; border-radius: .4rem; overflow: hidden; background: #000; }
.cut img, .cut svg { display: block; width: 100%; height: auto; }
.cut svg { position: absolute; inset: 0; height: 100%; }
.cut rect, .key rect { fill: none; vector-effect: non-scaling-stroke; }
.halo { stroke: #000; stroke-opacity: .55; stroke-width: 4.4; }
.truth { stroke: #35e06f; stroke-width: 2.6; stroke-dasharray: 7 4; }
.found { stroke: #ffb020; stroke-width: 2.6; }
.aside { opacity: .75; stroke-width: 1.3; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--raised); padding: .1em .35em;
  border-radius: .25rem; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--m0); font-size: .95rem; }
@media print { h2 { break-after: avoid; } figure, tr { break-inside: avoid; } body { font-size: 11pt; } }
"""
