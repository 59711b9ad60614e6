"""What the README files say exists, and what they show runs."""

import importlib
import operator
import re
from pathlib import Path

import pytest

import tinybvae

ROOT = Path(__file__).parent.parent
TOPS = [ROOT / name for name in ("tinybvae", "examples", "tests")]
FOLDERS = [ROOT, *TOPS, *(folder for top in TOPS for folder in top.rglob("[a-z]*") if folder.is_dir())]
READMES = {str(folder.relative_to(ROOT)): (folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS}
BLOCKS = [(folder, block) for folder in READMES for block in re.findall(r"```python\n(.*?)```", READMES[folder], re.S)]


def test_every_folder_opens_with_what_it_is_for():
    assert {".", "tinybvae/kernels", "tinybvae/data", "tinybvae/report", "examples"} <= READMES.keys()
    for folder, text in READMES.items():
        title = text.splitlines()[0]
        assert title == "# tinybvae" if folder == "." else re.match(r"# \w+: \w", title), folder


@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=[folder for folder, _ in BLOCKS])
def test_python_blocks_run(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert "print" not in block or "nats" in capsys.readouterr().out


def leads_somewhere(folder, link):
    """To a file or a folder, and where a heading is named, to that, which is written as GitHub does."""
    file, _, heading = link.partition("#")
    slugs = [re.sub(r"[^\w -]", "", line.strip("# \n").lower()).replace(" ", "-")
             for line in (folder / file).open(encoding="utf-8") if line.startswith("#")] if heading else [""]
    return (folder / file).exists() and heading in slugs


@pytest.mark.parametrize("folder", READMES)
def test_links_and_files_exist(folder):
    text = READMES[folder]
    for link in re.findall(r"\]\(([^)]*)\)", text):
        assert link.startswith("https://") or leads_somewhere(ROOT / folder, link), link
    for name in re.findall(r"`([\w/]+\.(?:py|cff))`", text):
        assert (ROOT / folder / name).exists() or (ROOT / "tinybvae" / name).exists(), name
    for command in re.findall(r"python ((?:examples|tests)/\S+\.py)", text) + re.findall(r"(tests/\S+\.py)", text):
        assert (ROOT / command).is_file(), command


def test_places_exist():
    places = re.findall(r"`([\w/]+)\.py:([\w.]+)`", READMES["."])
    assert len(places) > 12
    for file, name in places:
        module = importlib.import_module(f"tinybvae.{file.replace('/', '.')}")
        assert operator.attrgetter(name)(module).__doc__


def test_options_and_extras_exist(call, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setenv("COLUMNS", "120")  # of a line of the help
    commands = ("train_dsprites", "explore", "burgess2018", "sweep", "benchmark", "exercises", "pytorch",
                "tinybvae.data.__main__", "chaos")
    help_text = "".join(call(importlib.import_module(command).main, "--help")[1] for command in commands)
    text = "".join(READMES.values())
    options = set(re.findall(r"(--[a-z][\w-]*)", text)) - {"--help", "--nthreads"}  # Dask's
    assert len(options) > 8 and all(f"{option} " in help_text for option in options)
    presets = set(re.findall(r"--preset (\w+)", text))
    assert presets and all(preset in help_text for preset in presets)
    extras = set(re.findall(r"\.\[(\w+)\]", text))
    assert extras and all(f'"{extra}": [' in (ROOT / "setup.py").read_text() for extra in extras)


def test_one_version():
    assert f"version: {tinybvae.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("## ")[1].startswith(f"{tinybvae.__version__}\n")
