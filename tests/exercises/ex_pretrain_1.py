def greedy_pack(lengths, room):
    free = []
    for n in lengths:
        for i in range(len(free)):
            if free[i] >= n:
                free[i] -= n
                break
        else:
            free.append(room - n)
    return len(free)
