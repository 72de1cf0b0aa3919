import configparser


def read_flag(text):
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_dict({"x": {"flag": text.strip()}})
    return ini.getboolean("x", "flag")
