"""Made-up repositories and raw files, in the layout of every data set of the course as it lies on the hub and elsewhere.

`repositories(folder)` writes them and tells id, revision and folder of each; `raw_files()` is what other hosts serve. All rows are invented.
"""
import csv
import io
import json
import zipfile

WORDS = ("mill", "bridge", "tower", "harbour", "orchard", "school", "bakery", "forge", "ferry", "well")
FIRST = {"train": 0, "validation": 40, "test": 60}
VERDICTS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
RATINGS = ("pants-fire", "false", "barely-true", "half-true", "mostly-true", "true")
TECHNIQUES = ("Doubt", "Slogans", "Flag-Waving", "Repetition", "Loaded_Language")
FEVER_REVISION = "a6b8d891d393e97a4efac791afffb2d7de5e57c6"


def numbers(split, n=9): return range(FIRST[split], FIRST[split] + n)


def place(i): return f"the {WORDS[i % 10]} of town {i}"


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def parquet(path, rows, schema=None):
    import pyarrow as pa
    import pyarrow.parquet as pq
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def configs(folder, **files):
    "The card's front matter: {configuration: {split: pattern}}."
    text = "---\nconfigs:\n"
    for name, splits in files.items():
        text += f"- config_name: {name}\n  data_files:\n" + "".join(f"  - split: {s}\n    path: {p}\n" for s, p in splits.items())
    (folder/"README.md").write_text(text + "---\nMade up.\n", encoding="utf-8")


# --- on the hub


def fever(folder):
    "Gold evidence as JSON lines; the validation part is called valid."
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        lines(folder/f"{name}.jsonl", [
            {"id": i, "verifiable": "VERIFIABLE", "label": VERDICTS[i % 3], "claim": f"The mill at place {i} was built in {1800 + i}.", "original_id": 100 + i,
             "evidence": [[f"Mill_{i}", "0", f"Mill {i} dates from the year {1800 + i}." if i % 3 < 2 else ""]]} for i in numbers(split)])


COUNTS = ("barely_true_counts", "false_counts", "half_true_counts", "mostly_true_counts", "pants_on_fire_counts")


def liar(folder):
    "The parquet conversion, whose labels are numbers in no order: 0 false, 1 half-true, 2 mostly-true, 3 true, 4 barely-true, 5 pants-fire."
    for split in FIRST:
        parquet(folder/"default"/split/"0000.parquet", [
            {"id": f"{split}{i}.json", "label": i, "statement": f"Claim {i} of {split}.", "subject": "mills", "speaker": "ada", "job_title": "miller",
             "state_info": "", "party_affiliation": "none", **dict.fromkeys(COUNTS, 0.0), "context": "a fair"} for i in range(6)])


def sentiment(folder):
    names = ("very negative", "negative", "neutral", "positive", "very positive")
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        lines(folder/f"{name}.jsonl", [{"text": f"a film about {place(i)}", "label": i % 5, "label_text": names[i % 5]} for i in numbers(split)])


def paraphrase(folder):
    import pyarrow as pa
    schema = pa.schema([("question1", pa.string()), ("question2", pa.string()), ("label", pa.int64()), ("idx", pa.int32())])
    for split in FIRST:
        rows = [{"question1": f"How old is {place(i)}?", "question2": f"What is the age of {place(i + i % 2)}?",
                 "label": -1 if split == "test" else 1 - i % 2, "idx": i} for i in numbers(split)]
        parquet(folder/"qqp"/f"{split}-00000-of-00001.parquet", rows, schema)
    configs(folder, qqp={split: f"qqp/{split}-*" for split in FIRST})


LIAR2 = ("id", "label", "statement", "date", "subject", "speaker", "speaker_description", "state_info", "true_counts", "mostly_true_counts",
         "half_true_counts", "mostly_false_counts", "false_counts", "pants_on_fire_counts", "context", "justification")


def liar2(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(LIAR2)
        for i in numbers(split):
            table.writerow([i, i % 6, f"They closed {place(i)}.", "May 3, 2020", "towns", "ada-miller", "Ada Miller is a miller.", "", 0, 0, 0, 0, 0, 0,
                            "a fair", f'The council kept {place(i)} open.\nIt said "no" to closing.'])
        (folder/f"{name}.csv").write_text(text.getvalue(), encoding="utf-8", newline="")


def gsm8k(folder):
    for split in ("train", "test"):
        parquet(folder/"main"/f"{split}-00000-of-00001.parquet", [
            {"question": f"Ada has {i} apples and buys 3 at {place(i)}. How many has she?", "answer": f"{i} + 3 = <<{i}+3={i + 3}>>{i + 3}\n#### {i + 3}"}
            for i in numbers(split)])
    configs(folder, main={split: f"main/{split}-*" for split in ("train", "test")})


def dialogue(i): return [{"content": f"Where is {place(i)}?", "role": "user"}, {"content": f"Beyond the hill, {i} miles on.", "role": "assistant"}]


def smoltalk(folder):
    "Three pieces of training rows; every fourth dialogue opens with a system turn."
    system = [{"content": "Answer in one line.", "role": "system"}]
    rows = [{"messages": system*(i % 4 == 0) + dialogue(i), "source": "made-up"} for i in range(60)]
    for k in range(3): parquet(folder/"data"/"all"/f"train-0000{k}-of-00003.parquet", rows[15*k:15*k + 15])
    parquet(folder/"data"/"all"/"test-00000-of-00001.parquet", rows[45:])
    configs(folder, all={split: f"data/all/{split}-*" for split in ("train", "test")})


def ultrafeedback(folder):
    for split in ("train", "test"):
        rows = []
        for i in numbers(split):
            ask, good = dialogue(i)
            rows.append({"prompt": ask["content"], "prompt_id": str(i), "chosen": [ask, good], "rejected": [ask, good | {"content": f"I will not say where, {i}."}],
                         "messages": [ask, good], "score_chosen": 8.0, "score_rejected": 3.0})
        parquet(folder/"data"/f"{split}_prefs-00000-of-00001.parquet", rows)
    configs(folder, default={f"{split}_prefs": f"data/{split}_prefs-*" for split in ("train", "test")})


def propaganda(folder):
    "Articles, and labels with character offsets; what a mirror of somebody who has registered would hold."
    labels = []
    (folder/"train-articles").mkdir(parents=True)
    for i in range(30):
        text = f"Who would trust {place(i)}?\n\nNobody in town {i} does, and nobody should.\n"
        (folder/"train-articles"/f"article{7000 + i}.txt").write_text(text, encoding="utf-8", newline="")
        start = text.index("Nobody")
        labels.append(f"{7000 + i}\t{TECHNIQUES[i % 5]}\t{start}\t{start + 6}\n")
    (folder/"train-task2-TC.labels").write_text("".join(labels), encoding="utf-8")


WRITERS = {                                          # id: (revision, what writes it)
    "copenlu/fever_gold_evidence": (FEVER_REVISION, fever),
    "ucsbnlp/liar": ("refs/convert/parquet", liar),
    "SetFit/sst5": ("e51bdcd8cd3a30da231967c1a249ba59361279a3", sentiment),
    "nyu-mll/glue": ("bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", paraphrase),
    "chengxuphd/liar2": ("main", liar2),
    "openai/gsm8k": ("740312add88f781978c0658806c59bc2815b9866", gsm8k),
    "HuggingFaceTB/smoltalk": ("5feaf2fd3ffca7c237fc38d1861bc30365d48ffa", smoltalk),
    "HuggingFaceH4/ultrafeedback_binarized": ("3949bf5f8c17c394422ccfab0c31ea9c20bdeb85", ultrafeedback),
    "SemEvalWorkshop/sem_eval_2020_task_11": ("main", propaganda),
}


def repositories(folder):
    "Writes all repositories below `folder`: {id: (revision, its folder)}."
    out = {}
    for name, (revision, write) in WRITERS.items():
        out[name] = revision, folder/name.replace("/", "--")
        out[name][1].mkdir(parents=True)
        write(out[name][1])
    return out


# --- elsewhere


def liar_tsv(split, n=6):
    return "".join(f"{split}{i}.json\t{RATINGS[i % 6]}\tClaim {i} of {split}.\tmills\tada\tminer\t\tnone\t0\t0\t0\t0\t0\ta fair\n" for i in range(n)).encode()


def liar_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"README": b"made up", **{f"{n}.tsv": liar_tsv(s) for s, n in (("train", "train"), ("validation", "valid"), ("test", "test"))}}.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def liar_plus(split):
    rows = [{"claim": f"They sold {place(i)}.", "label": RATINGS[i % 6], "justification": f"Nobody sold {place(i)}. The deed is in the archive.",
             "originator": "ada-miller", "title": "miller", "party": "", "topics": ["towns"]} for i in numbers(split)]
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def sonnets(n=40):
    poems = ["\n".join(f"Line {k} of the song of {place(i)}" for k in range(14)) for i in range(n)]
    return ("Sonnets\nby nobody\n\n" + "\n\n".join(f"{i + 1}\n\n{poem}" for i, poem in enumerate(poems)) + "\n").encode()


def raw_files():
    "{host/path: bytes} of what is fetched from other hosts than the hub."
    from ftlib.tasks import COURSE, PLUS
    name = {"train": "train", "validation": "val", "test": "test"}
    files = {f"{PLUS}/{name[split]}2.jsonl": liar_plus(split) for split in FIRST} | {f"{COURSE}/sonnets.txt": sonnets()}
    files["http://www.cs.ucsb.edu/~william/data/liar_dataset.zip"] = liar_zip()
    return {url.split("://")[1]: data for url, data in files.items()}


def serve(hub, sets, without=(), **access):
    "All repositories but those named, and the raw files, from one loopback server."
    for name, (revision, where) in sets.items():
        if name not in without: hub.add(name, where, kind="dataset", revision=revision, **access)
    hub.raw |= raw_files()
