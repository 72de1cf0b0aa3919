def frontier(points):
    out = []
    for point in sorted(points, key=lambda p: (p[1], -p[2])):
        if not out or point[2] > out[-1][2] or point[1:] == out[-1][1:]: out.append(point)
    return [name for name, _, _ in out]
