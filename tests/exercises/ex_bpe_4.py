"Reads the number from its end."
import re


def number_groups(digits):
    return [group[::-1] for group in re.findall(r"\d{1,3}", digits[::-1])][::-1]
