"""The page: self-contained, escaped, whole or absent; the demo's stages have shares that add up."""
import re
from html.parser import HTMLParser

import pytest

from ftlib.demo import SHARES, STAGES, Stage, run_demo
from ftlib.report import Report, continue_texts, surprise


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []
    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "img"): self.open.append(tag)
    def handle_endtag(self, tag): assert self.open.pop() == tag


def parse(path):
    links = Links()
    links.feed(path.read_text(encoding="utf-8"))
    assert not links.open
    return links


def test_shares_fit_in_three_minutes():
    assert sum(SHARES.values()) <= 180 and {s.name for s in STAGES} <= set(SHARES)


def test_page_needs_nothing_but_itself(tmp_path):
    import matplotlib.pyplot as plt
    page = Report("title & <tag>")
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    page.plot(fig, 'a "plot"')
    page.sample("<script>alert(1)</script>")
    page.table([{"a": "<b>", "c": 1}])
    links = parse(page.save(tmp_path/"deep"/"page.html"))
    assert links.sources and all(s.startswith("data:image/png;base64,") for s in links.sources)
    assert "<script>" not in (tmp_path/"deep"/"page.html").read_text()


def test_demo_reports_what_each_stage_reached(tmp_path):
    lines = []
    def work(page):
        page.text("done")
        return {"score": 0.5}
    results = run_demo(tmp_path/"r.html", [Stage("classify", "something", work)], lines.append)
    assert results["classify"]["score"] == 0.5 and results["classify"]["share"] >= SHARES["classify"]
    assert re.search(r"GFLOP/s", (tmp_path/"r.html").read_text()) and "score 0.500" in "".join(lines)
    parse(tmp_path/"r.html")


def test_a_failing_stage_keeps_the_old_page(tmp_path):
    def work(page): raise RuntimeError("no")
    (tmp_path/"r.html").write_text("old")
    with pytest.raises(RuntimeError): run_demo(tmp_path/"r.html", [Stage("classify", "x", work)], lambda line: None)
    assert (tmp_path/"r.html").read_text() == "old"


def test_continue_texts_does_not_depend_on_the_company():
    from ftlib.gpt2 import load_model
    model, tokenizer = load_model("tiny", "cpu")
    texts = ["Olga", "In which year did Tess Quinden get married and where does she live now?"]
    assert continue_texts(model, tokenizer, texts, 8) == [continue_texts(model, tokenizer, [t], 8)[0] for t in texts]


def test_surprise_ranks_real_text_below_noise():
    from ftlib.gpt2 import load_model
    model, tokenizer = load_model("tiny", "cpu")
    real, noise = surprise(model, tokenizer, ["Olga Linnard lives in Selby.", "xq%% 7#kk zzv @@ }{ wqp."])
    assert real < noise
