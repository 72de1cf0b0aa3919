"By a pattern and datetime."
import re
from datetime import datetime, timezone


def seconds_to_wait(value, now):
    value = value or ""
    if re.fullmatch(r"\d+", value): return int(value)
    try: at = datetime.strptime(value, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=timezone.utc)
    except ValueError: return None
    left = at.timestamp() - now
    return left if left > 0 else 0
