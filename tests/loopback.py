"""What the stand-in servers share: they listen on a free port of this machine while a `with` lasts."""
import threading
from http.server import ThreadingHTTPServer


class Loopback:
    "A server; its `__enter__` calls `listen`, and handlers find it under a name of their own."
    def listen(self, handler, called, poll=0.02):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {called: self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": poll}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self): return f"http://127.0.0.1:{self.server.server_address[1]}"
