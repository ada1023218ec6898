"""The Olivetti faces: 400 pictures of 40 people, from a file that is there or scikit-learn's.

The pictures are those of AT&T Laboratories Cambridge, reduced to 64×64 as Sam Roweis published
them: ten a person, in order of person.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bench.models.data.files import FileState, absent, fetch_command, first_file, put, reason
from bench.models.problem import DataError, DataSource, digest_of

PEOPLE = 40
PICTURES = 10
"""Of every person."""
SIDE = 64

MAT = "olivettifaces.mat"
MAT_MD5 = "7be4afc20ba95152afb4c6b4b5d45c5b"
NPZ = "olivettifaces.npz"
PLACES = ("olivetti", "faces", ".")
"""Where in a folder the file is looked for."""

PUBLISHED = "f25e47b785a9231f409b47d5dd21fdd05ab704218292190f3fa35bd5ea6328dd"
"""`digest_of` the published pictures, whatever file they came in."""

WHITE = 242
"""The brightest grey level of the published pictures; the darkest is 0."""

HDF5 = b"\x89HDF\r\n\x1a\n"


def olivetti(source: DataSource) -> UInt8[np.ndarray, "400 64 64"]:
    """Return the grey levels of the first file found, as `load` does.

    In every folder of `source`, then in its cache, olivettifaces.mat and then .npz are looked
    for in olivetti/, in faces/ and in the folder itself. DataError where there is none.
    """
    return load(_find(source))


def load(path: Path) -> UInt8[np.ndarray, "400 64 64"]:
    """Return the pictures in a .mat or .npz file, each row by row, upright.

    The variable `faces` is (4096, 400), a column a picture whose pixels go column by column,
    as published, or (400, 64, 64), as scikit-learn has it. Unsigned bytes are taken as they
    are. Floats have to lie in [0, 1]: they are multiplied by 242 and rounded to the nearest
    grey level, which gives back the published bytes from (x − min) / (max − min). A person's
    own pictures are as welcome as the published ones. DataError says what is wrong.
    """
    remedy = (
        f"Put the published {MAT} (MD5 {MAT_MD5}) in its place, or move it away and run "
        f"`{fetch_command('faces', path.parent)}`."
    )
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}). {remedy}") from error
    try:
        return _grey_levels(_variable(contents, path.suffix))
    except ValueError as error:
        raise DataError(f"{path} {error}. {remedy}") from error


def download(to: Path) -> Iterator[tuple[Path, bool]]:
    """Fetch the pictures with scikit-learn into the folder `to`; yield their path.

    With it comes whether it was fetched now: published pictures that are there are kept, and
    a damaged .npz is replaced. DataError where `to` has other pictures, which are left alone,
    where scikit-learn or the internet is missing, and where it gives other pictures.
    """
    if path := first_file(DataSource((to,)), (".",), (MAT, NPZ)):
        if _is_published(path):
            yield path, False
            return
    contents = io.BytesIO()
    np.savez(contents, faces=_from_scikit_learn())
    put("faces", to / NPZ, contents.getvalue())
    yield to / NPZ, True


def state(source: DataSource) -> FileState:
    """Find the file and read it; note if its pictures are not the published ones."""
    try:
        path = _find(source)
    except DataError as error:
        return FileState("faces", MAT, None, "absent", str(error))
    try:
        digest = digest_of(load(path))
    except DataError as error:
        return FileState("faces", path.name, path, "damaged", str(error))
    own = "" if digest == PUBLISHED else ", not the published pictures"
    return FileState("faces", path.name, path, "verified", f"SHA-256 {digest}{own}")


def _find(source: DataSource) -> Path:
    path = first_file(source, PLACES, (MAT, NPZ))
    if path is None:
        raise absent("faces", f"the file {MAT} (MD5 {MAT_MD5}) or {NPZ}", source)
    return path


def _variable(contents: bytes, suffix: str) -> np.ndarray:
    """Return the variable `faces` of a file; ValueError continues "<path> …"."""
    from scipy.io import loadmat

    if suffix == ".mat" and HDF5 in (contents[:8], contents[512:520]):
        raise ValueError(
            "is an HDF5 file, MATLAB's version 7.3, which bench cannot read; "
            f"in MATLAB, `save {MAT} faces -v7` writes a file that it can read"
        )
    try:
        if suffix == ".mat":
            stored = loadmat(io.BytesIO(contents))
            names = [name for name in stored if not name.startswith("__")]
            faces = stored["faces"] if "faces" in names else None
        else:
            with np.lib.npyio.NpzFile(io.BytesIO(contents)) as archive:
                names = archive.files
                faces = archive["faces"] if "faces" in names else None
    # With damaged bytes, both readers may raise anything: zlib.error, IndexError, TypeError, …
    except Exception as error:
        md5 = hashlib.md5(contents, usedforsecurity=False).hexdigest()
        raise ValueError(
            f"is truncated or no {suffix} file ({reason(error)}); it has {len(contents):,} bytes "
            f"with MD5 {md5}"
        ) from error
    if faces is None:
        raise ValueError(f"has no variable `faces`; it has {', '.join(names) or 'none at all'}")
    return np.asarray(faces)


def _grey_levels(faces: np.ndarray) -> UInt8[np.ndarray, "400 64 64"]:
    """Return upright pictures of unsigned bytes; ValueError continues "<path> …"."""
    count = PEOPLE * PICTURES
    if faces.shape == (SIDE * SIDE, count):
        faces = faces.T.reshape(count, SIDE, SIDE).transpose(0, 2, 1)
    if faces.shape != (count, SIDE, SIDE):
        raise ValueError(
            f"holds `faces` of shape {faces.shape}; needed are {count} pictures of {SIDE}×{SIDE} "
            f"pixels, of shape {(SIDE * SIDE, count)} or {(count, SIDE, SIDE)}"
        )
    if faces.dtype == np.uint8:
        return np.ascontiguousarray(faces)
    if not np.issubdtype(faces.dtype, np.floating):
        raise ValueError(
            f"holds `faces` of type {faces.dtype}; needed are unsigned bytes (uint8), or floats "
            "from 0 to 1"
        )
    # This also refuses NaN.
    if not np.all((faces >= 0) & (faces <= 1)):
        raise ValueError(
            f"holds floats from {faces.min():g} to {faces.max():g}; needed are floats from 0 to 1, "
            "or unsigned bytes (uint8)"
        )
    return np.ascontiguousarray(np.rint(faces.astype(np.float64) * WHITE).astype(np.uint8))


def _is_published(path: Path) -> bool:
    """Return whether a file has the published pictures; False if it can be replaced."""
    try:
        digest = digest_of(load(path))
    except DataError:
        # A downloaded file is an .npz, which would not be found beside a damaged .mat.
        if path.name == MAT:
            raise
        return False
    if digest != PUBLISHED:
        raise DataError(
            f"{path} does not have the published pictures, so it is not replaced. "
            "Move it away, or give another folder with `bench data fetch faces --to FOLDER`."
        )
    return True


def _from_scikit_learn() -> UInt8[np.ndarray, "400 64 64"]:
    otherwise = (
        f"put {MAT} (MD5 {MAT_MD5}) into a folder named olivetti and give the folder above it "
        "with --data-dir."
    )
    try:
        from sklearn.datasets import fetch_olivetti_faces
    except ImportError as error:
        raise DataError(
            "The Olivetti faces are fetched with scikit-learn, which is not installed: "
            "run `pip install 'bench-harness[faces]'` and try again, or "
            f"{otherwise}"
        ) from error
    try:
        with warnings.catch_warnings():
            # It warns each time that it tries again.
            warnings.simplefilter("ignore", UserWarning)
            pictures = _grey_levels(fetch_olivetti_faces().images)
    # No internet, an interrupted download, a damaged copy among scikit-learn's own files, …
    except Exception as error:
        raise DataError(
            f"scikit-learn could not fetch the Olivetti faces ({reason(error)}). "
            f"Try again with internet access, or {otherwise}"
        ) from error
    if (digest := digest_of(pictures)) != PUBLISHED:
        raise DataError(
            f"scikit-learn has other Olivetti faces than the published ones: their SHA-256 should "
            f"be {PUBLISHED} and is {digest}. Instead {otherwise}"
        )
    return pictures
