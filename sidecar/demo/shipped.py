"""The configuration and rules that ship with Sidecar, as texts."""

from pathlib import Path

import sidecar


def shipped_files() -> tuple[str, dict[str, str]]:
    """Return sidecar.yaml and the rule files by name: from the wheel, or from the checkout that runs."""
    package = Path(sidecar.__file__).parent
    root = package / "shipped" if (package / "shipped").is_dir() else package.parent
    rules = {path.name: path.read_text(encoding="utf-8") for path in sorted((root / "rules").glob("*.yaml"))}
    return (root / "sidecar.yaml").read_text(encoding="utf-8"), rules
