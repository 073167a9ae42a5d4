"""Statistics and tables: data frames in, data frames out. Imports neither torch nor matplotlib."""

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.frames import StudyFrames, load_study, rows_of
from olora_bench.analysis.study import Tables, analyse, warnings

__all__ = ["MIN_SEEDS_FOR_VERDICT", "StudyFrames", "Tables", "analyse", "load_study", "rows_of", "warnings"]
