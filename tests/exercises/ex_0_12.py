def unread(settings, reads):
    plain, found = type(settings)(), set()
    for kind, names in reads.items():
        for name in names:
            if name in reads[settings.kind]: continue
            if vars(settings)[name] != vars(plain)[name]: found.add(name)
    return sorted(found)
