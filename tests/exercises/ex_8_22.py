def safe_to_merge(model, name):
    mine = model.get_submodule(name).weight.data_ptr()
    users = [n for n, m in model.named_modules() if "weight" in m._parameters and m._parameters["weight"].data_ptr() == mine]
    return users == [name]
