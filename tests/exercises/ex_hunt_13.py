"Without one large pattern: words of the line, then the decimal module."
import re
from decimal import Decimal


def answer(text):
    _, *behind = text.split("####")
    if len(behind) != 1: return None
    line = behind[0].splitlines()[0] if behind[0] else ""
    words = line.split()
    if not words or re.search("[0-9]", " ".join(words[1:])): return None
    word = words[0].removeprefix("$").rstrip(".")
    whole, point, decimals = word.partition(".")
    if "," in whole and not re.fullmatch("-?[1-9][0-9]{0,2}(,[0-9]{3})+", whole): return None
    plain = whole.replace(",", "") + point + decimals
    if not re.fullmatch("-?[0-9]+([.][0-9]+)?", plain): return None
    value = Decimal(plain)
    return str(value.to_integral_value()) if value == value.to_integral_value() else format(value.normalize(), "f")
