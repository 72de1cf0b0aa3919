RULES = (
    ("another model", lambda rows: rows[0]["clipped"] > 0 or rows[0]["kl"] > 0.01),
    ("no signal", lambda rows: min(row["no_signal"] for row in rows) > 0.95),
    ("length", lambda rows: rows[-1]["ended"] < 0.5),
    ("far away", lambda rows: rows[-1]["kl"] > 10),
    ("one answer", lambda rows: 10*rows[-1]["entropy"] < rows[0]["entropy"] and rows[-1]["task_reward"] > rows[0]["task_reward"]),
)


def diagnose(history):
    return next((name for name, holds in RULES if holds(history)), "healthy")
