"""Print the oldest versions that pyproject.toml allows, as constraints for pip; torch stays as it is tested."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
AS_TESTED = frozenset({"torch"})  # whose every version is a download of gigabytes


def oldest_allowed() -> dict[str, str]:
    """Return, by the name of each dependency, its lower bound: a version, or `X.Y.*` for all corrections of one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["qlora"]])
    bounds = {each.name: spec.version for each in requirements for spec in each.specifier if spec.operator == ">="}
    return {
        name: version if version.count(".") > 1 else f"{version}.*"
        for name, version in bounds.items()
        if name not in AS_TESTED
    }


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in oldest_allowed().items()))
