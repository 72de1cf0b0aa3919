import copy


def same_twice(score, model):
    twin = copy.deepcopy(model).eval()
    first, second = score(twin), score(twin)
    return first == second
