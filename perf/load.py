"""Report and extract of a study of 2,000 runs: CPU seconds, peak memory and the page's size. Limits: 15 s and 400 MB.

    python -m perf.load [--runs N]

The study is made up, as large on disk as a real one (tests/analysis/big_study.py). Each command is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from olora_bench.process.provenance import provenance
from perf.measured import ROOT, measured
from tests.study_text import PACKAGED_HEAD, TWO_ARMS, study_text

SECONDS, BYTES = 15.0, 400 * 1000**2
MAKE = """
import sys
from pathlib import Path

sys.path.insert(0, "tests/analysis")
import big_study

big_study.make(Path(sys.argv[1]), int(sys.argv[2]))
"""


def main() -> int:
    """Exit codes: 0 the limits hold, 1 they do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "load.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, file = Path(folder) / "results", Path(folder) / "big.yaml"
        file.write_text(study_text(TWO_ARMS, name="big", head=PACKAGED_HEAD), encoding="utf-8")
        subprocess.run([sys.executable, "-c", MAKE, str(root), str(options.runs)], cwd=ROOT, check=True)
        found = {name: measured("olora_bench.study", name, str(file), f"machine.results_dir={root}") for name in ("report", "extract")}
        page = (root / "big" / "report" / "index.html").stat().st_size
    held = all(one["cpu_seconds"] < SECONDS and one["peak_bytes"] < BYTES for one in found.values())
    facts = provenance(assets=[], threads=1, device="cpu")
    value = {"asked": {"runs": options.runs}, "provenance": facts, "page_bytes": page, **found}
    options.out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    for name, one in found.items():
        print(f"{name}: {one['cpu_seconds']} s (at most {SECONDS:g}), {one['peak_bytes'] / 1e6:.0f} MB (at most {BYTES / 1e6:.0f})")
    print(f"page: {page / 1e6:.1f} MB{'' if held else '  NOT HELD'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
