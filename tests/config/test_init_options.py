"""Options that an init does not know, and names that make an arm out of nothing, are refused by the config alone."""

from __future__ import annotations

from dataclasses import fields

import pytest
from peft import LoraConfig
from peft.tuners.lora import EvaConfig

from olora_bench.config import compose, load
from olora_bench.config.init_options import _fields
from olora_bench.errors import BadInput


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as error:
        load(compose(overrides))
    return str(error.value)


def test_an_option_that_no_module_declares() -> None:
    assert refused("init=olora", "+init.options.shrnk=3", "+init.options.x=1") == (
        "init.options names shrnk, x, which init.module=olora does not have. Allowed: none"
    )


def test_a_misspelt_option_of_a_module_that_has_some() -> None:
    assert refused("init=nora", "+init.options.omega=3") == (
        "init.options names omega, which init.module=nora does not have. Allowed: omega_scale"
    )


def test_options_that_go_to_peft_are_the_fields_of_its_config() -> None:
    own = {field.name for field in fields(EvaConfig)}
    assert refused("init=eva", "+init.options.rh=1") == (
        f"init.options names rh, which init.module=eva does not have. Allowed: {', '.join(sorted(own))}"
    )
    taken = _fields("peft.tuners.lora.config", "LoraConfig")
    assert taken is not None and "init_lora_weights" in taken and taken <= {field.name for field in fields(LoraConfig)}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["init=olora", "init.name=mine"], "init.name=mine: its module and options are those of init=olora or init=olora_plus. "),
        (["init=gaussian", "init.name=lora"], "init.name=lora: its module and options are those of init=gaussian. "),
        (["init=lora_plus", "init.name=x"], "init.name=x: its module and options are those of init=lora or init=lora_plus or init=peft. "),
    ],
)
def test_a_name_without_a_method_of_its_own(overrides: list[str], message: str) -> None:
    assert refused(*overrides) == f"{message}Use that name, or other options"


def test_another_modules_name() -> None:
    assert refused("init=peft", "init.name=olora") == (
        "init.name=olora is the init of module olora, and init.module=peft. Give init.name a name of its own"
    )


@pytest.mark.parametrize(
    ("overrides", "arm"),
    [
        (["init=nora", "init.name=nora_small", "+init.options.omega_scale=0.1"], "nora_small"),
        (["init=eva", "+init.options.whiten=true"], "eva"),
        (["init=peft", "init.name=mica"], "mica"),
        (["init=olora", "init.lr_ratio=2"], "olora_x2"),
    ],
)
def test_a_name_for_other_options_is_free(overrides: list[str], arm: str) -> None:
    assert load(compose(overrides)).arm == arm


def test_a_record_keeps_the_name_it_was_made_with() -> None:
    cfg = compose(["init=orthogonal", "init.name=my_init"])
    assert load(cfg, recorded=True).arm == "my_init"
