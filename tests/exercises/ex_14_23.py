def kind(names):
    if "adapter_config.json" in names: return "lora"
    if "reft_config.json" in names: return "reft"
    return "model"
