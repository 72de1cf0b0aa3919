"By a pattern that looks for the name."
import re


def helpfulness(content):
    found = re.search(r"(?:reward|helpfulness):\s*(-?[\d.]+)", content)
    return float(found[1])
