import olora_bench  # noqa: F401  before PEFT: it keeps quiet what bitsandbytes says at import
