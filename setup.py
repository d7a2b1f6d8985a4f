"""Packaging of pointcept_bsa. Install with ``python -m pip install -c constraints.txt -e .``"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


def read_version() -> str:
    """The version, read from the package's source: importing the package would need torch at build time."""
    source = (HERE / "pointcept_bsa" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('pointcept_bsa/version.py has no line of the form: __version__ = "1.2.3"')
    return found.group(1)


class BuildWithConfigsAndTools(build_py):
    """In a wheel the package holds what stands beside it in a checkout: ``pointcept_bsa/{configs,tools}``."""

    def run(self) -> None:
        super().run()
        for path in [] if self.editable_mode else carried():
            target = Path(self.build_lib, "pointcept_bsa", path)
            self.mkpath(str(target.parent))
            self.copy_file(str(HERE / path), str(target))

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, carried())]


def carried() -> list[Path]:
    return sorted(path.relative_to(HERE) for folder in ("configs", "tools") for path in (HERE / folder).rglob("*.py"))


INSTALL_REQUIRES = [
    "torch>=2.5",
    'triton>=3.1; platform_system == "Linux"',
    "numpy>=1.26",
    "scipy>=1.11",
    "mmengine-lite>=0.10.4",  # config files and registries of the embedded host
    "addict>=2.4",
    "timm>=1.0",  # imported only where it is used: its own dependency torchvision may not match torch's build
    "tensorboard>=2.14",  # also reads TFRecord files
    "protobuf>=4.22",
    "rich>=13",
    "matplotlib>=3.8",
    "jinja2>=3.1",  # a part of torch's installation, too
    "h5py>=3.10",
    "safetensors>=0.4",
]

EXTRAS_REQUIRE = {
    "test": [
        "optuna>=4.4",
        "pytest>=8",
        "pytest-xdist>=3",
        "pytest-cov>=5",
        "hypothesis>=6.100",
        "ruff>=0.9",
        "mypy>=1.11",
        "import-linter>=2.1",
        "setuptools>=70.1",  # builds the wheel that a test installs
        "meshio>=5.3",  # peers of the mesh readers
        "pyvista>=0.44",
        'balltree-erwin==0.1.0; platform_system == "Linux"',  # the peer of the ball tree; built from source
    ],
    "dev": ["pre-commit>=4", "pre-commit-hooks>=5"],
    # spconv-cu120 has wheels up to Python 3.11; spconv-cu126 is the same project's build for newer ones.
    "cuda": [
        'spconv-cu120; python_version < "3.12"',
        'spconv-cu126; python_version >= "3.12"',
        "torch-scatter",
    ],
    "hub": ["huggingface-hub>=0.30"],
    "viz": ["pyvista>=0.44"],
    "tune": ["optuna>=4.4"],
}

setup(
    name="pointcept_bsa",
    version=read_version(),
    description="Ball-tree attention backbones and physics regression for the Pointcept framework",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author="The pointcept_bsa authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pointcept_bsa", "pointcept_bsa.*"]),
    package_data={"pointcept_bsa": ["**/*.json", "**/*.npz", "**/*.md", "**/*.html", "py.typed"]},
    cmdclass={"build_py": BuildWithConfigsAndTools},
    entry_points={"console_scripts": ["pcbsa = pointcept_bsa.__main__:main"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Physics",
    ],
)
