"""What the demo reaches: `python benchmarks/demo.py` runs it and writes results/demo.json, from which the README's table is made."""
import tempfile
import time
from pathlib import Path

from common import machine, matrix_rate, save

from ftlib.demo import run_demo

if __name__ == "__main__":
    rate, start = matrix_rate(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder: results = run_demo(Path(folder)/"report.html")
    save("demo", {"command": "python benchmarks/demo.py", "machine": machine(), "matrix_gflops": rate, "seconds": time.perf_counter() - start,
                  "results": results})
