"""Statistics and tables: data frames in, data frames out. Imports neither torch nor matplotlib."""

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT, one_answer_pays
from olora_bench.analysis.frames import StudyFrames, rows_of, where
from olora_bench.analysis.load import load_study
from olora_bench.analysis.study import Tables, analyse

__all__ = ["MIN_SEEDS_FOR_VERDICT", "StudyFrames", "Tables", "analyse", "load_study", "one_answer_pays", "rows_of", "where"]
