"""lm-eval's own command line with this project's scorer in it: `python -m olora_bench.lm_eval run --model olora_bench ...`.

lm-eval finds no models by itself, so the scorer is registered first; everything else is lm-eval's: tasks, options, output.
"""

from __future__ import annotations

import sys

from olora_bench.errors import BadInput
from olora_bench.process import terminal


def main() -> None:
    """Entry point. `--model_args` takes `pretrained=FOLDER,peft=ADAPTER` and what else `Scorer.create_from_arg_obj` does.

    Exit codes are lm-eval's; 2 where the model arguments cannot be carried out as written.
    """
    terminal.prepare()
    from lm_eval.__main__ import cli_evaluate

    import olora_bench.evaluation.scorer  # noqa: F401 (registers the model)

    sys.argv[0] = "python -m olora_bench.lm_eval"
    try:
        cli_evaluate()
    except BadInput as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
