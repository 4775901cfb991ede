"""A picture as a page: the SVG, and beside it the details of the layer that is pointed at or clicked."""

from convnet.drawing.picture import Picture
from convnet.drawing.svg import svg, text

_STYLE = """body{margin:0;display:flex;font:14px/1.45 'Helvetica Neue',Helvetica,Arial,sans-serif;color:#1d2733}
main{flex:1;overflow:auto;height:100vh;text-align:center}main svg{max-width:100%;height:auto}
aside{width:21rem;box-sizing:border-box;height:100vh;overflow:auto;padding:1.2rem;
border-left:1px solid #cfd6dd;background:#f7f9fb}
section{display:none}section.shown{display:block}h2{margin:.2rem 0 .6rem}th{text-align:left;padding:.15rem .8rem .15rem 0;
vertical-align:top;font-weight:normal;color:#4d5966;white-space:nowrap}td{overflow-wrap:anywhere}
.layer{cursor:pointer}.layer:hover>rect,.layer.chosen>rect{stroke-width:3}
@media print{aside{display:none}main{height:auto}}"""
_SCRIPT = """const layers=document.querySelectorAll('.layer'),sections=document.querySelectorAll('section');let kept=null;
function show(n){sections.forEach(s=>s.classList.toggle('shown',s.dataset.layer===n))}
layers.forEach(g=>{g.addEventListener('mouseenter',()=>{if(kept===null)show(g.dataset.layer)});
g.addEventListener('click',()=>{kept=kept===g.dataset.layer?null:g.dataset.layer;
layers.forEach(o=>o.classList.toggle('chosen',o.dataset.layer===kept));show(g.dataset.layer)})});"""


def page(picture: Picture) -> str:
    """Return a complete HTML document that needs nothing else."""
    sections = "\n".join(
        f'<section data-layer="{i}"><h2>{text(box.name)}</h2><table>'
        + "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in box.details)
        + "</table></section>"
        for i, box in enumerate(picture.boxes.values())
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(picture.title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{svg(picture)}</main>\n"
        f"<aside><p>Point at a layer for its details; click to keep them.</p>\n{sections}</aside>\n"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )
