def shows(cell, *kinds):
    return any(kind in out.get("data", ()) for out in cell.get("outputs", ()) for kind in kinds)


def dead(notebook):
    return [cell["id"] for cell in notebook["cells"]
            if shows(cell, "application/vnd.jupyter.widget-view+json") and not shows(cell, "image/png", "image/svg+xml")]
