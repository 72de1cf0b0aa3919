"The smaller of two straight lines."


def linear_schedule(step, total, climb): return min((step + 1)/(climb + 1), (total - step)/(total - climb))
