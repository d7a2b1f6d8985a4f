"""How the page looks: one column, system fonts, light and dark by the reader's own setting."""

CSS = """
:root { color-scheme: light dark; --text: #1c2127; --soft: #5c6670; --line: #d9dee3; --back: #ffffff; --panel: #f6f8fa;
  --warn: #9a3412; --warn-back: #fff4ec; --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #8a6d00;
  --c5: #3fa0d8; --c6: #7a5cc4; --c7: #5f6b76; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e7eb; --soft: #9aa5b0; --line: #353c44; --back: #15191d;
  --panel: #1d2329; --warn: #ffb48a; --warn-back: #33231a; --c0: #56b4e9; --c1: #f0894a; --c2: #35c79b; --c3: #e0a3c5;
  --c4: #d9b640; --c5: #8fd0ff; --c6: #b29bf0; --c7: #a8b3bd; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; font-weight: 650; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 40px 0 10px; font-weight: 650; }
h3 { font-size: 15px; margin: 22px 0 8px; font-weight: 600; }
p, ul { margin: 6px 0; }
.lead, .note, figcaption, .tick, .label, th { color: var(--soft); }
.lead { margin: 0; }
.note { font-size: 13px; }
ul.note { padding-left: 18px; }
.warning { border-left: 4px solid var(--warn); background: var(--warn-back); padding: 10px 14px; margin: 18px 0; }
.warning strong { color: var(--warn); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; min-width: 60%; }
th, td { padding: 5px 11px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 500; font-size: 12.5px; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.plain { white-space: nowrap; }
td.command { min-width: 260px; }
th:last-child, td:last-child { padding-right: 0; }
tr.published td { color: var(--soft); }
td.best { font-weight: 650; }
code { font: 12.5px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 7px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; margin: 4px 0 12px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 18px 22px; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: 13px; margin-bottom: 3px; }
svg { width: 100%; height: auto; display: block; background: var(--panel); border-radius: 6px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg text { fill: var(--soft); font-size: 11px; }
svg .tick.y { text-anchor: end; }
svg .tick.x, svg .label { text-anchor: middle; }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .faint { stroke-width: 1; stroke-opacity: 0.45; }
.pictures figure { margin-bottom: 16px; }
.pictures img { width: 100%; height: auto; display: block; background: #ffffff; border-radius: 6px; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--soft); font-size: 13.5px; }
@media (max-width: 560px) { .charts { grid-template-columns: 1fr; } main { padding: 20px 14px 48px; } }
@media print { main { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""
