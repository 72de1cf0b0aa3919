"Exercise 11.2, solved by looking for each letter."
def choice(text, letter):
    named = [other for other in "ABCDE" if f"({other})" in text]
    return 1.0 if named == [letter] else 0.0
