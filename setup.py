"""What tinybvae is and needs: `pip install .`, or `pip install ".[test]"` with what its tests need."""

import re
from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="tinybvae",
    version=re.search(r'__version__ = "(.*)"', Path("tinybvae/__init__.py").read_text(encoding="utf-8"))[1],
    description="A β-VAE from scratch, made to be read: manual backpropagation in NumPy, Numba kernels, no framework",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["tinybvae*"]),
    package_data={"": ["README.md"], "tinybvae.report": ["explorer.js", "style.css"]},
    python_requires=">=3.10",
    install_requires=["numpy>=1.26", "numba>=0.60", "h5py>=3.10", "matplotlib>=3.8", "imageio>=2.31", "tqdm>=4.66"],
    extras_require={"test": ["pytest>=7.4"],
                    "notebook": ["jupyterlab>=4.0"],  # for examples/tour.ipynb
                    "sweep": ["dask[distributed]>=2024.1"],  # for examples/sweep.py
                    "torch": ["torch>=2.0"]},  # for examples/pytorch.py; the tests' oracle, and the benchmark's rival
)
