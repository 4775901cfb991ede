"""A picture as a page: the drawing, whose boxes are links to the details of their layers, beside or below it.

All of it can be read, and the links followed, without the script. That shows one layer at a time: the one that is pointed at
or has the focus, or was chosen by a click, a tap or Enter. Arrow keys go along the edges.
"""

from itertools import pairwise

from convnet.drawing.layout import Layout, lay_out
from convnet.drawing.picture import Picture
from convnet.drawing.scene import scene_of
from convnet.drawing.svg import Link, svg_of, text

# Dark: lightness is turned round and hues are kept. Narrow: the drawing keeps its size, so that boxes are large enough for
# a finger, and is moved; the details become a sheet that leaves it half of the height.
_STYLE = """:root{color-scheme:light dark;--back:#fff;--panel:#f7f9fb;--words:#1d2733;--faint:#4d5966;--line:#cfd6dd}
body{margin:0;display:flex;font:14px/1.45 'Helvetica Neue',Helvetica,Arial,sans-serif;color:var(--words);
background:var(--back)}
main{flex:1;overflow:auto;height:100vh;text-align:center}main svg{max-width:100%;height:auto}
aside{width:21rem;box-sizing:border-box;height:100vh;overflow:auto;padding:1.2rem;
border-left:1px solid var(--line);background:var(--panel)}
.js section,.js .all,.hint,.kept .hint,button{display:none}
.js section.shown,.js aside:not(.kept) .hint,.js .kept button{display:block}
h2{margin:.2rem 0 .6rem;overflow-wrap:anywhere}section:target h2{text-decoration:underline}
th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top;font-weight:normal;color:var(--faint);white-space:nowrap}
td{overflow-wrap:anywhere}button{float:right;min-width:44px;min-height:44px;font:inherit}
.layer{cursor:pointer;outline:none}.layer:hover>.box,.layer.chosen>.box{stroke-width:3}
.layer:focus-visible>.box{stroke:#000;stroke-width:4}
@media (max-width:48rem){body{display:block}main{height:auto}main svg{max-width:none}
aside{width:auto;height:auto;border:0;border-top:1px solid var(--line)}
.js main{padding-bottom:50vh}.js aside{position:fixed;bottom:0;left:0;right:0;max-height:45vh;padding:.6rem 1rem}}
@media (prefers-color-scheme:dark){:root{--back:#141414;--panel:#1f2226;--words:#e6e9ec;--faint:#a9b3bd;--line:#3b4249}
main svg{filter:invert(.92) hue-rotate(180deg)}}
@media print{main svg{filter:none}.js aside{display:none}main{height:auto}}"""

_SCRIPT = """document.documentElement.className='js';
const layers=[...document.querySelectorAll('.layer')],sections=[...document.querySelectorAll('section')],
aside=document.querySelector('aside'),main=document.querySelector('main');let kept=-1;
const ways={ArrowUp:'up',ArrowDown:'down',ArrowLeft:'left',ArrowRight:'right'};
function show(n){sections.forEach((s,i)=>s.classList.toggle('shown',i===n))}
function keep(n){kept=n;aside.classList.toggle('kept',n>=0);show(n);
layers.forEach((g,i)=>{g.classList.toggle('chosen',i===n);if(i===n)g.setAttribute('aria-current','true');
else g.removeAttribute('aria-current')})}
layers.forEach((g,n)=>{for(const e of['mouseenter','focus'])g.addEventListener(e,()=>{if(kept<0)show(n)});
g.addEventListener('click',e=>{e.preventDefault();keep(kept===n?-1:n)});
g.addEventListener('keydown',e=>{const to=g.dataset[ways[e.key]];
if(to!==undefined){e.preventDefault();layers[to].focus();layers[to].scrollIntoView({block:'nearest',inline:'nearest'})}})});
document.addEventListener('keydown',e=>{if(e.key==='Escape')keep(-1)});
document.querySelector('button').addEventListener('click',()=>keep(-1));
main.scrollLeft=(main.scrollWidth-main.clientWidth)/2;"""


def page(picture: Picture) -> str:
    """Return a complete HTML document that needs nothing else."""
    layout = lay_out(picture)
    ways = neighbours(picture, layout)
    links, sections = [], []
    for i, box in enumerate(picture.boxes.values()):
        output = dict(box.details).get("output", "")
        label = f"{box.name}: {box.label}" + (f"; output {output}" if output else "")
        links.append(Link(f"layer-{i}", label, "".join(f' data-{way}="{other}"' for way, other in ways[i].items())))
        rows = (f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>' for name, value in box.details)
        heading = f'<section id="layer-{i}" aria-labelledby="name-{i}"><h2 id="name-{i}">{text(box.name)}</h2>'
        sections.append(f"{heading}<table>{''.join(rows)}</table></section>")
    details = "\n".join(sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(picture.title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{svg_of(scene_of(picture, layout), links)}</main>\n"
        '<aside aria-label="Details of layers" aria-live="polite"><button type="button">Close</button>'
        '<p class="all">The layers, in the order of the file.</p>'
        '<p class="hint">Point at a layer for its details; click, tap or Enter keeps them, Escape lets them go. '
        "Arrow keys go along the edges.</p>\n"
        f"{details}</aside>\n<script>{_SCRIPT}</script></body></html>\n"
    )


def neighbours(picture: Picture, layout: Layout) -> list[dict[str, int]]:
    """Return for each box where arrow keys lead: the nearest of its inputs and consumers, and of those beside it."""
    ways: dict[str, dict[str, list[str]]] = {name: {"up": [], "down": [], "left": [], "right": []} for name in picture.boxes}
    for edge in picture.edges:
        ways[edge.target]["up"].append(edge.source)
        ways[edge.source]["down"].append(edge.target)
    places = layout.boxes
    for one, other in pairwise(sorted(places, key=lambda name: (places[name][1], places[name][0]))):
        if places[one][1] == places[other][1]:
            ways[one]["right"].append(other)
            ways[other]["left"].append(one)
    numbers = {name: i for i, name in enumerate(picture.boxes)}

    def nearest(name: str, others: list[str]) -> int:
        return numbers[min(others, key=lambda other: abs(places[other][0] - places[name][0]))]

    return [{way: nearest(name, others) for way, others in known.items() if others} for name, known in ways.items()]
