#include "audit/report/html_parts.h"

namespace merlon::audit::report {

namespace {

constexpr std::string_view kStyleSheet = R"css(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#566173;--line:#dde2ea;
--code:#f1f3f7;--accent:#1d5fbf;--critical:#9c1046;--high:#c2330c;--medium:#94600a;--low:#2163a8;--info:#5b6472;
--good:#1c7c4a;--warn:#a86400;--bad:#c2330c;--mark:#ffe3a3;--add:#e2f5e8;--del:#fde6e3;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1a2029;--ink:#e4e9f1;--soft:#9ba7b8;--line:#2d3644;
--code:#131820;--accent:#7db2ff;--critical:#ff7aa8;--high:#ff8a66;--medium:#e8b24a;--low:#79b4f5;--info:#a4afbf;
--good:#62cd94;--warn:#e8b24a;--bad:#ff8a66;--mark:#5c4712;--add:#15301f;--del:#3a1d1a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 var(--sans);overflow-wrap:anywhere}
main,header,footer,nav>ul{max-width:1080px;margin:0 auto;padding:0 20px}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:2px}
h1,h2,h3{line-height:1.25;margin:0}
h2{font-size:1.35rem;margin:44px 0 6px}
h3{font-size:1.06rem}
p{margin:.4em 0}
.lead{color:var(--soft);margin:0 0 16px;max-width:72ch}
code,.mono,pre{font-family:var(--mono);font-size:.86em}
header{padding-top:36px}
.kicker{color:var(--soft);font-size:.9rem;margin:0 0 14px}
.kicker b{color:var(--ink)}.kicker time{white-space:nowrap}
.verdict{display:grid;grid-template-columns:auto 1fr;gap:26px;align-items:start;background:var(--card);
border:1px solid var(--line);border-radius:16px;padding:26px}
.letter{width:116px;height:116px;border-radius:20px;display:grid;place-items:center;font-size:68px;font-weight:750;
line-height:1;border:3px solid currentColor}
.g-A,.g-B{color:var(--good)}.g-C{color:var(--warn)}.g-D{color:var(--bad)}.g-F{color:var(--critical)}.g-q{color:var(--info)}
.verdict h1{font-size:1.55rem}
.verdict ul{margin:12px 0 0;padding-left:1.15em}
.verdict li{margin:.25em 0}
.verdict li::marker{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:10px;margin:14px 0 0;padding:0;list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:10px 14px}
.tiles b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles span{font-size:.86rem;color:var(--soft)}
.tiles .zero b{color:var(--soft);font-weight:400}
nav{margin-top:18px;border-block:1px solid var(--line);background:var(--card)}
nav>ul{display:flex;flex-wrap:wrap;gap:2px 20px;list-style:none;padding-block:9px;font-size:.93rem}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
.l-critical{color:var(--critical)}.l-high{color:var(--high)}.l-medium{color:var(--medium)}.l-low{color:var(--low)}.l-info{color:var(--info)}
.badge{display:inline-block;font-size:.76rem;font-weight:650;letter-spacing:.02em;border:1.5px solid currentColor;
border-radius:999px;padding:0 9px;line-height:1.6;white-space:nowrap}
.chip{display:inline-block;font-size:.78rem;border:1px solid var(--line);border-radius:6px;padding:0 7px;
color:var(--soft);margin:0 5px 4px 0;background:var(--bg)}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;margin:14px 0;padding:18px 20px}
.rule{border-left:5px solid var(--edge,var(--line))}
.rule>.head{display:flex;flex-wrap:wrap;gap:6px 12px;align-items:baseline}
.rule>.head .id{color:var(--soft);font-size:.86rem;margin-left:auto}
.todo{margin:.5em 0 .6em}
.todo b,.k{font-weight:650}
.place{border-top:1px solid var(--line);margin-top:14px;padding-top:12px}
.place .at{font-family:var(--mono);font-size:.84rem;color:var(--soft)}
.place .what{margin:.1em 0 .5em;font-weight:550}
pre{background:var(--code);border:1px solid var(--line);border-radius:8px;padding:8px 12px;margin:.5em 0;
white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5;tab-size:4}
pre .n{color:var(--soft);user-select:none;padding-right:14px}
mark{background:var(--mark);color:inherit;border-radius:3px;padding:1px 0}
ins,del{display:block;text-decoration:none;margin:0 -12px;padding:0 12px}
ins{background:var(--add)}del{background:var(--del)}
ins::before{content:"+ ";color:var(--good)}del::before{content:"− ";color:var(--bad)}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:.5em 0 0;font-size:.93rem}
.facts dt{color:var(--soft)}.facts dd{margin:0;min-width:0}
.facts ol{margin:0;padding-left:1.2em}
.secret{color:var(--soft);font-style:italic}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;font-weight:600;color:var(--soft);font-size:.82rem;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:bottom}
td{padding:7px 10px;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>td{border-bottom:0}
.table{background:var(--card);border:1px solid var(--line);border-radius:14px;overflow:hidden;margin:14px 0}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.num.none,.none{color:var(--soft)}
.yes{color:var(--good)}.no{color:var(--bad)}
.site{background:var(--card);border:1px solid var(--line);border-radius:14px;overflow:hidden;margin:14px 0}
.site>.head{padding:12px 14px;border-bottom:1px solid var(--line);background:var(--code);display:flex;flex-wrap:wrap;gap:2px 18px;align-items:baseline}
.site>.head b{font-size:1rem}
.site td:first-child{font-family:var(--mono);font-size:.86rem;font-weight:600}
.routes{table-layout:fixed}
.host th{background:var(--bg);padding:9px 14px;font-size:.9rem;font-weight:400}.host th b{color:var(--ink);margin-right:10px}
.site td:first-child,.site th:first-child{padding-left:14px}
.quiet{color:var(--good)}
.nw{white-space:nowrap}
.timeline{position:relative;margin:14px 0;padding:16px 20px 12px}
.cert{padding:10px 0;border-top:1px solid var(--line)}
.cert:first-of-type{border-top:0}
.cert .t{display:flex;flex-wrap:wrap;gap:0 14px;justify-content:space-between}
.cert .sub{color:var(--soft);font-size:.86rem}
.track{position:relative;height:12px;border-radius:6px;background:var(--code);border:1px solid var(--line);margin:7px 0 5px;overflow:hidden}
.track i{position:absolute;top:0;bottom:0;border-radius:5px;min-width:4px;background:var(--good)}
.track.soon i{background:var(--warn)}.track.past i{background:var(--bad)}
.track u{position:absolute;top:0;bottom:0;width:2px;background:var(--ink)}
.axis{display:flex;justify-content:space-between;color:var(--soft);font-size:.8rem;font-variant-numeric:tabular-nums}
.counts{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;list-style:none;margin:14px 0;padding:0}
.counts li{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:8px 14px;font-size:.9rem;color:var(--soft)}
.counts b{display:block;color:var(--ink);font-size:1.25rem;font-variant-numeric:tabular-nums}
.alert{border-left:5px solid var(--bad)}
.list{margin:.4em 0;padding-left:1.2em}
footer{color:var(--soft);font-size:.86rem;margin-top:48px;padding-top:16px;padding-bottom:40px}
@media (max-width:720px){
body{font-size:15.5px}main,header,footer,nav>ul{padding-inline:14px}header{padding-top:20px}
.verdict{grid-template-columns:1fr;padding:18px;gap:14px}.letter{width:84px;height:84px;font-size:50px;border-radius:16px}
.tiles{grid-template-columns:repeat(5,1fr);gap:6px}.tiles li{padding:7px 4px;text-align:center}.tiles b{font-size:1.25rem}.tiles span{font-size:.74rem;overflow-wrap:normal}
.card{padding:14px}.rule>.head .id{margin-left:0;width:100%}
.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:6px}
.stack thead{display:none}.stack,.stack tbody,.stack tr,.stack td{display:block;width:100%}
.stack tr{padding:9px 14px;border-bottom:1px solid var(--line)}.stack tr:last-child{border-bottom:0}
.stack td{border:0;padding:1px 0;display:grid;grid-template-columns:104px 1fr;gap:8px}
.site .stack td:first-child{padding-left:0}.stack .host{padding:0}.stack .host th{display:block}
.stack td::before{content:attr(data-label);color:var(--soft);font:.82rem/1.8 var(--sans)}
.matrix thead,.matrix .num.none{display:none}.matrix,.matrix tbody,.matrix tr,.matrix td{display:block}
.matrix tr{padding:8px 14px;border-bottom:1px solid var(--line)}.matrix tr:last-child{border-bottom:0}
.matrix td{border:0;padding:0}.matrix td.num{display:inline-block;margin-right:14px;font-weight:650}
.matrix td.num::before{content:attr(data-label) " ";color:var(--soft);font-weight:400;font-size:.82rem}
}
@media print{
:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--code:#f5f5f5;--accent:#000;--critical:#8c0d3e;
--high:#a82a08;--medium:#7a4e06;--low:#174f8a;--info:#444;--good:#14613a;--warn:#7a4e06;--bad:#a82a08;--mark:#ffe9b8;--add:#eaf7ee;--del:#fdeeec}
@page{margin:16mm 14mm}
html{font-size:9.5pt}body{font-size:1rem;line-height:1.4;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main,header,footer{max-width:none;padding:0}header{padding-top:0}nav{display:none}
.verdict{padding:14px;gap:16px}.letter{width:74px;height:74px;font-size:44px;border-radius:12px}
.card{padding:8px 12px;margin:8px 0;border-radius:6px}.place{margin-top:7px;padding-top:6px}
.rule>.head{display:block}.rule>.head h3{display:inline;margin-left:7px}.rule>.head .id{margin-left:8px}
pre{padding:3px 8px;margin:.3em 0}td,th{padding:3px 8px}.chip{padding:0 4px;margin-bottom:2px}.facts{gap:1px 12px}
.verdict,.place,.rule>.head,.cert,.tiles,.counts,tr{break-inside:avoid}
h2,h3,.lead,.rule>.head,.rule>p,.chips,.place .at,.place .what,.site>.head{break-after:avoid}thead{display:table-header-group}
h2{margin-top:20px}a{text-decoration:none}footer{margin-top:12px;padding:6px 0 0}
}
)css";

}  // namespace

std::string_view style_sheet() { return kStyleSheet; }

}  // namespace merlon::audit::report
