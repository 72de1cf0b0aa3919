ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}


def cell(text): return "<td>" + "".join(ENTITIES.get(c, c) for c in text) + "</td>"
