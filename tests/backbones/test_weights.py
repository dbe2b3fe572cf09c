from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headstart._utils.errors import CorruptFileError
from headstart.backbones.weights import read_npz, write_npz

ARRAYS = st.dictionaries(
    st.from_regex(r"[0-9]{1,2}\.[a-z_]{1,20}", fullmatch=True),
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    max_size=4,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays=ARRAYS)
def test_what_is_written_is_read(
    tmp_path: Path, arrays: dict[str, npt.NDArray[np.float32]]
) -> None:
    path = tmp_path / "w.npz"
    write_npz(path, arrays)
    found = read_npz(path, {name: array.shape for name, array in arrays.items()})
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == np.float32
        assert found[name].tobytes() == array.tobytes()  # Bit for bit: -0.0 is not 0.0.


def test_the_bytes_depend_on_the_numbers_alone(tmp_path: Path) -> None:
    a, b = np.ones((3, 2), np.float32), np.zeros(4, np.float32)
    write_npz(tmp_path / "1.npz", {"b": b, "a": a})
    write_npz(tmp_path / "2.npz", {"a": np.asfortranarray(a), "b": b})
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_numpy_opens_it(tmp_path: Path) -> None:
    write_npz(tmp_path / "w.npz", {"0.bias": np.arange(3, dtype=np.float32)})
    with np.load(tmp_path / "w.npz", allow_pickle=False) as found:
        assert found["0.bias"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("array", [np.zeros(2), np.array([np.nan], np.float32)])
def test_nothing_but_finite_float32_is_written(
    tmp_path: Path, array: npt.NDArray[np.float32]
) -> None:
    with pytest.raises(ValueError, match=r"w is float64|w holds numbers that are not finite"):
        write_npz(tmp_path / "w.npz", {"w": array})
    assert not (tmp_path / "w.npz").exists()


def test_every_difference_from_the_expectation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    write_npz(path, {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)})
    with pytest.raises(CorruptFileError) as error:
        read_npz(path, {"a": (3,), "c": (2,)})
    for part in ("w.npz", "c is missing", "b is unknown", "a has shape (2,), expected (3,)"):
        assert part in str(error.value)


def _npz(path: Path, content: bytes, name: str = "w.npy", compress: int = 0) -> None:
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr(name, content)


def _npy(array: npt.NDArray[np.generic], **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def test_unexpected_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    good = np.ones(4, np.float32)
    cases = {
        "pickle": _npy(np.array([{}], object), allow_pickle=True),
        "float64": _npy(np.ones(4)),
        "fortran": _npy(np.asfortranarray(np.ones((2, 2), np.float32))),
        "short": _npy(good)[:-1],
        "long": _npy(good) + b"x",
        "no array": b"hello",
        "not finite": _npy(np.array([np.inf], np.float32)),
    }
    for name, content in cases.items():
        _npz(path, content)
        with pytest.raises(CorruptFileError, match=r"w\.npz: 'w\.npy' is damaged"):
            read_npz(path)
            pytest.fail(name)


def test_a_header_that_claims_more_than_the_file_allocates_nothing(tmp_path: Path) -> None:
    content = _npy(np.ones(4, np.float32)).replace(b"(4,), }", b"(4" + b"0" * 9 + b",), }")
    _npz(tmp_path / "w.npz", content)
    with pytest.raises(CorruptFileError):
        read_npz(tmp_path / "w.npz")


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    _npz(tmp_path / "w.npz", _npy(np.zeros(10000, np.float32)), compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(CorruptFileError, match="unpack to more than the file holds"):
        read_npz(tmp_path / "w.npz")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "w.npz"
    array = np.arange(40, dtype=np.float32)
    write_npz(path, {"w": array})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path.write_bytes(bytes(content[:cut]))
    try:
        found = read_npz(path, {"w": (40,)})
    except CorruptFileError as error:
        assert "w.npz" in str(error)  # noqa: PT017 - both outcomes are fine, a third is not
    else:
        # A flipped bit of a date or an attribute changes no number.
        assert found["w"].tobytes() == array.tobytes()


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"w\.npz does not exist"):
        read_npz(tmp_path / "w.npz")
