"""Which runs of a study to launch, asked again after each launch; runs in other workers' hands are left to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from olora_bench.experiment import CRASHES_THAT_PARK, mend, tidy
from olora_bench.progress import say
from olora_bench.store import Store, read_lease
from olora_bench.study.grid import Job
from olora_bench.study.states import Standing, standing

_POLL_S = 1.0


class Worklist:
    """One sweep's memory of what it launched and what it left to others.

    A run is launched once, and again only if its process died and left its lease (after `CRASHES_THAT_PARK` times in a row it gives
    itself up), or if the other worker that had it did not finish it.
    """

    def __init__(self, store: Store, *, retry: bool = False) -> None:
        self.store, self.retry = store, retry
        self._launched: Counter[str] = Counter()
        self._left_to_others: set[str] = set()
        self._said: set[str] = set()
        self._mended: set[str] = set()
        self._tidied: set[str] = set()

    def look(self, jobs: Sequence[Job]) -> tuple[list[Standing], list[Job]]:
        """Where the runs stand, and those to launch now. A finished run is rid of what a killed worker left behind; with `retry`, what is
        damaged is set aside first."""
        found = []
        for job in jobs:
            fresh = job.what.train_id not in self._launched
            if self.retry and fresh and job.what.train_id not in self._mended:
                self._mended.add(job.what.train_id)
                for path in mend(self.store, job.what):
                    say(f"{path} is damaged; it is set aside as {path.name}.damaged and computed again")
            found.append(standing(self.store, job, retry=self.retry and fresh, changed=fresh))
        for one in found:
            if one.state in ("done", "diverged") and one.job.what.train_id not in self._tidied:
                self._tidied.add(one.job.what.train_id)
                tidy(self.store, one.job.what)
        self._left_to_others |= {s.job.what.train_id for s in found if s.state == "running"}
        return found, [s.job for s in found if self._due(s)]

    def launching(self, jobs: Sequence[Job]) -> None:
        """Remember that these are handed to the launcher now."""
        for job in jobs:
            self._launched[job.what.train_id] += 1
            self._left_to_others.discard(job.what.train_id)

    def wait(self, found: Sequence[Standing]) -> bool:
        """Wait until one of the runs in other workers' hands leaves them; false when there are none."""
        elsewhere = [s for s in found if s.state == "running"]
        new = [s for s in elsewhere if s.job.what.train_id not in self._said]
        if new:
            runs = "; ".join(f"{s.job.what.train_id} ({s.reason})" for s in new)
            say(f"waiting for other workers, whose runs are taken over should they die: {runs}")
            self._said |= {s.job.what.train_id for s in new}
        while elsewhere:
            for one in elsewhere:
                holder = read_lease(self.store.run_dir(one.job.what.train_id))
                if holder is None or not holder.alive():
                    return True
            time.sleep(_POLL_S)
        return False

    def _due(self, one: Standing) -> bool:
        train_id = one.job.what.train_id
        if one.state not in ("missing", "interrupted"):
            return False
        launched, crashed = self._launched[train_id], one.holder is not None
        return launched == 0 or train_id in self._left_to_others or (crashed and launched <= CRASHES_THAT_PARK)
