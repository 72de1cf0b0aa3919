def count_stage(page, tasks={"fever": 4800, "liar": 4800}):
    rows = []
    for name in tasks: rows.append(dict(task=name, rows=tasks[name]))
    page.heading("How many rows there are")
    page.table(rows)
    return {row["task"]: row["rows"] for row in rows}
