"""A referee for claims about LoRA initialisation: OLoRA against LoRA, OLoRA+ against OLoRA."""

__version__ = "0.1.0"

from olora_bench.process import quiet

quiet.install()


def __getattr__(name: str) -> object:
    """`olora_bench.judge`, which takes pandas, only once it is asked for."""
    if name != "judge":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"{__name__}.judge")
