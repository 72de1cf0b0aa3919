def as_tsv(rows):
    def cell(value): return " ".join(part for part in str(value).replace("\t", "\n").splitlines() if part) or ""
    lines = ["\t".join(rows[0])]
    for row in rows: lines.append("\t".join(map(cell, row.values())))
    return "\n".join(lines)
