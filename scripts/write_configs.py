"""Write what follows from the config's schema: the presets' comments, their copies in configs/, and docs/config.md.

To change a preset, change its values in elbo_cli/presets/NAME.yaml; to change a comment, change the description in
elbo_cli/config/. Then run this. A test holds that nothing is out of date.
"""

from pathlib import Path

from elbo_cli.config import Config, commented, loads
from elbo_cli.config.text import reference
from elbo_cli.presets import list_presets, preset_text

ROOT = Path(__file__).resolve().parent.parent


def outputs() -> dict[Path, str]:
    """Each file that follows from the schema, with the text that it should have."""
    texts = {ROOT / "docs" / "config.md": reference(Config)}
    for name, summary in list_presets().items():
        text = commented(loads(preset_text(name), f"{name}.yaml"), summary)
        texts |= {ROOT / folder / f"{name}.yaml": text for folder in ("elbo_cli/presets", "configs")}
    return texts


def main() -> None:
    for path, text in outputs().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
