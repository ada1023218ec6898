"""Names the packages; everything else that setuptools must know is in pyproject.toml."""

from setuptools import find_packages, setup

# A source distribution holds no links, so the packages are found where they stand, and not
# through the links in bench/.
FOLDERS = ("harness", "models", "optim")
found = find_packages(include=[pattern for name in FOLDERS for pattern in (name, f"{name}.*")])
setup(packages=["bench", *(f"bench.{package}" for package in found)])
