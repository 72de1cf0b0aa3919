"Leaves the waiting to the standard library's incremental decoder."
import codecs


def stream(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks:
        if text := decoder.decode(chunk): yield text
