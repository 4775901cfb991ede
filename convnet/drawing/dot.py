"""A picture in the language of Graphviz: devices as clusters, the same colours."""

from convnet.drawing.picture import HOST, Picture
from convnet.drawing.scene import colors, device_text
from convnet.texts import bytes_text


def dot(picture: Picture) -> str:
    """Return the picture as a ``digraph``."""
    lines = [
        "digraph net {",
        f"  label={_quoted(picture.title)}; labelloc=t;",
        '  node [shape=box, style="rounded,filled"];',
    ]
    for number, device in enumerate([HOST, *picture.devices]):
        fill, line, column = colors(picture, device)
        is_column = device and len(picture.devices) > 1
        lines.append(f"  subgraph {f'cluster_{number}' if is_column else f'nodes_{number}'} {{")
        if is_column:
            lines.append(f'    label={_quoted(device_text(device))}; style=filled; color="{column}";')
        lines.append(f'    node [fillcolor="{fill}", color="{line}"];')
        for box in picture.boxes.values():
            if box.device == device:
                lines.append(f"    {_quoted(box.name)} [label={_quoted(box.name, box.label)}];")
        lines.append("  }")
    for edge in picture.edges:
        words = [edge.shape, bytes_text(edge.sent)] if edge.sent else [edge.shape]
        style = ', color="#d01c36", penwidth=2' if edge.sent else ""
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(*words)}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(*lines: str) -> str:
    clean = ("".join(char if char.isprintable() else " " for char in line) for line in lines)
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in clean) + '"'
