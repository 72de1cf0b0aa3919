"""A reward model on loopback that misbehaves as it is told to, and remembers what it was asked."""
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from loopback import Loopback

ATTRIBUTES = {"helpfulness": 1.6171875, "correctness": 1.6484375, "coherence": 3.3125, "complexity": 0.546875, "verbosity": 0.515625}


def completion(content, **more):
    "A chat completion with this content."
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}} | more


def by_logprobs(named):
    "The form in which scores stand for log-probs and the message is a list."
    content = [{"token": name, "bytes": None, "logprob": value, "top_logprobs": []} for name, value in named.items()]
    return completion("") | {"choices": [{"index": 0, "message": [{"role": "assistant", "content": None}], "logprobs": {"content": content}}]}


@dataclass
class Step:
    "How one request is answered."
    status: int = 200
    body: object = None                              # JSON, text or bytes; None: the reward
    headers: dict = field(default_factory=dict)
    pause: float = 0.0                               # seconds before the answer
    drip: float = 0.0                                # seconds before each byte of the body
    cut: int = -1                                    # the connection is lost after so many bytes of the body
    hang_up: bool = False                            # before any answer
    reason: str | None = None


@dataclass
class RewardServer(Loopback):
    steps: list = field(default_factory=list)        # taken in turn, one a request; then every request is answered well
    reward: object = len                             # of the text of a reply
    pause: float = 0.0                               # seconds that a good answer takes
    per_second: int = 0                              # more requests than this in a second are answered 429
    asked: list = field(default_factory=list)        # (seconds, path, headers, body) of every request
    most: int = 0                                    # requests that were under way at a time

    def __enter__(self):
        self.lock, self.under_way, self.window = threading.Lock(), 0, []
        return self.listen(Handler, "owner", poll=0.005)

    @property
    def url(self): return f"{super().url}/v1"

    @property
    def replies(self): return [body["messages"][-1]["content"] for _, _, _, body in self.asked]

    def next_step(self):
        "The step that is due for a request."
        with self.lock:
            if self.steps: return self.steps.pop(0)
            now = time.monotonic()
            self.window = [t for t in self.window if t > now - 1]
            if self.per_second and len(self.window) >= self.per_second: return Step(429, {"error": "slower"}, {"Retry-After": "1"})
            self.window.append(now)
            return Step(pause=self.pause)


class Handler(BaseHTTPRequestHandler):
    owner: RewardServer
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def log_message(self, *_): pass

    def do_POST(self):
        me = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with me.lock:
            me.asked.append((time.monotonic(), self.path, dict(self.headers), body))
            me.under_way += 1
            me.most = max(me.most, me.under_way)
        try: self.answer(me.next_step(), body)
        except OSError: self.close_connection = True     # the client is gone
        finally:
            with me.lock: me.under_way -= 1

    do_GET = do_PUT = do_HEAD = lambda self: self.send_error(405)

    def answer(self, step, body):
        time.sleep(step.pause)
        if step.hang_up:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        data = step.body
        if data is None: data = completion(f"reward:{self.owner.reward(body['messages'][-1]['content'])}") if step.status == 200 else b""
        if callable(data): data = data(self.headers)
        if not isinstance(data, (str, bytes)): data = json.dumps(data)
        if isinstance(data, str): data = data.encode()
        self.send_response(step.status, step.reason)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))} | step.headers
        for name, value in headers.items(): self.send_header(name, value(self.headers) if callable(value) else value)
        self.end_headers()
        for i in range(len(data) if step.cut < 0 else step.cut) if step.drip else ():
            self.wfile.write(data[i:i + 1])
            time.sleep(step.drip)
        if not step.drip: self.wfile.write(data if step.cut < 0 else data[:step.cut])
        self.wfile.flush()
        if step.cut >= 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
