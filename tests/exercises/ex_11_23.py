"With the client's own idea of a URL."
import httpx2


def headers_after(old, new, headers):
    one, two = (httpx2.URL(url) for url in (old, new))
    same = (one.scheme, one.host) == (two.scheme, two.host) and (one.port or 443) == (two.port or 443)
    return dict(headers) if same else {k: v for k, v in headers.items() if k.casefold() != "authorization"}
