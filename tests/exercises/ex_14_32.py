def share_of_ceiling(verdict, blind, ceiling):
    gap = ceiling - blind
    return None if gap <= 0 else sorted((0, (verdict - blind)/gap, 1))[1]
