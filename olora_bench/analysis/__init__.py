"""Statistics and tables: data frames in, data frames out. Imports neither torch nor matplotlib."""

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT, compare_cells, detectable_difference, item_standard_error

__all__ = ["MIN_SEEDS_FOR_VERDICT", "compare_cells", "detectable_difference", "item_standard_error"]
