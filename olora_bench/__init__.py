"""A referee for claims about LoRA initialisation: OLoRA against LoRA, OLoRA+ against OLoRA."""

__version__ = "0.1.0"

from olora_bench.process import quiet

quiet.install()
