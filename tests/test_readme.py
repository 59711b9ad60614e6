"""What the README says exists, and what it shows runs."""

import importlib
import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL),
                         ids=["check a gradient", "train by hand", "render"])
def test_python_blocks_run(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert "print" not in block or "nats" in capsys.readouterr().out


def test_places_exist():
    places = re.findall(r"`([\w/]+)\.py:([\w.]+)`", README)
    assert len(places) > 15
    for file, name in places:
        module = importlib.import_module(f"tinybvae.{file.replace('/', '.')}")
        assert operator.attrgetter(name)(module).__doc__


def test_files_and_options_exist():
    for path in re.findall(r"\]\((examples/[^)]*)\)", README) + re.findall(r"python (examples/\S+)", README):
        assert (ROOT / path).is_file(), path
    help_text = "".join(subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT,
                                       env={"PYTHONPATH": str(ROOT)}).stdout
                        for command in (["examples/train_dsprites.py"], ["-m", "tinybvae.dsprites"]))
    options = set(re.findall(r"(--[a-z][\w-]*)", README)) - {"--help"}
    assert options and all(f"{option} " in help_text for option in options)
