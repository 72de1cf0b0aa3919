"Exercise 11.1, solved line by line."
def windowed(text):
    lines = [line for line in text.split("\n") if "####" in line]
    number = lines[0].removeprefix("#### ").replace(",", "").strip() if len(lines) == 1 and lines[0].startswith("#### ") else ""
    return number if number.lstrip("-").isdecimal() else None
