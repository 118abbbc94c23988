"""Broken files: one line that says what is wrong, and nothing on stderr from the libraries that read them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from conftest import Call, assert_error
from PIL import Image

from ssl_bench.data.pictures import read_image
from ssl_bench.data.quiet import quiet_libraries
from ssl_bench.data.volume_files import read_array
from ssl_bench.errors import UserError

VOXELS = np.random.default_rng(0).integers(0, 1000, (10, 12, 14)).astype(np.int16)  # 3360 bytes
Edit = Callable[[bytes], bytes]


def write(path: Path, *, compressed: bool = False, voxels: np.ndarray = VOXELS) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path), compressed)


def refused(path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What the refusal of a volume says; nothing else is printed."""
    capfd.readouterr()
    with pytest.raises(UserError) as caught:
        read_array(path, "image")
    assert capfd.readouterr() == ("", "")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes(255 - byte for byte in content[place : place + 40]) + content[place + 40 :]


@pytest.mark.parametrize("edit", [lambda raw: raw[:1680], lambda raw: raw + b"0" * 100], ids=["short", "long"])
def test_a_raw_file_of_another_length_is_named_with_both_lengths(
    edit: Edit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "x.mhd")
    raw = tmp_path / "x.raw"
    raw.write_bytes(edit(raw.read_bytes()))
    count = raw.stat().st_size
    assert refused(tmp_path / "x.mhd", capfd) == f"{raw}: expected 3360 bytes of voxels of x.mhd, found {count}"
    raw.unlink()
    found = refused(tmp_path / "x.mhd", capfd)
    assert found == f"{raw}: expected a file with the 3360 bytes of voxels of x.mhd, found none"


@pytest.mark.parametrize("name", ["x.mhd", "x.mha", "x.nrrd"])
@pytest.mark.parametrize("compressed", [True, False])
def test_voxels_that_end_early_are_refused(
    name: str, compressed: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    write(path, compressed=compressed)
    voxels = next(path for path in tmp_path.iterdir() if path.suffix != ".mhd")
    voxels.write_bytes(voxels.read_bytes()[:-500])
    said = refused(path, capfd)
    assert said.startswith(str(voxels))
    assert ("end early" in said) == compressed


@pytest.mark.parametrize("name", ["x.mhd", "x.mha", "x.nrrd"])
def test_damaged_compressed_voxels_are_refused_though_itk_reads_them(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    write(path, compressed=True)
    voxels = next(path for path in tmp_path.iterdir() if path.suffix != ".mhd")
    content = voxels.read_bytes()
    voxels.write_bytes(flipped(content, 700))
    if name != "x.nrrd":  # of NRRD files it takes some
        read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        assert read.shape == VOXELS.shape
        assert not np.array_equal(read, VOXELS)
    assert "its compressed voxels are damaged" in refused(path, capfd)


@pytest.mark.parametrize("kind", ["int8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"])
def test_whole_files_of_every_type_are_read(kind: str, tmp_path: Path) -> None:
    voxels = VOXELS.astype(kind)
    for name in ("x.mhd", "x.mha", "x.nrrd"):
        for compressed in (False, True):
            write(tmp_path / name, compressed=compressed, voxels=voxels)
            found = read_array(tmp_path / name, "image")
            assert np.array_equal(found.array[::-1, ::-1], voxels.T), name  # LPS to RAS
    header = (tmp_path / "x.mhd").read_text().replace("x.zraw", "y.raw").replace("True", "False", 3)
    lines = [line for line in header.splitlines() if not line.startswith(("Compressed", "BinaryData"))]
    for skipped, front in (("-1", b"123"), ("5", b"12345")):
        (tmp_path / "y.raw").write_bytes(front + voxels.tobytes())
        text = "\n".join(["ObjectType = Image", "BinaryData = True", f"HeaderSize = {skipped}"])
        (tmp_path / "y.mhd").write_text("\n".join([text, *lines[1:], ""]))
        assert np.array_equal(read_array(tmp_path / "y.mhd", "image").array[::-1, ::-1], voxels.T)


@pytest.mark.parametrize(
    ("line", "wrong", "said"),
    [
        ("NDims = 3", "NDims = -1", "NDims = -1"),  # ends the process in ITK
        ("NDims = 3", "", "NDims = none"),
        ("DimSize = 14 12 10", "DimSize = 14 12", "DimSize = 14 12"),
        ("DimSize = 14 12 10", "DimSize = 14 12 0", "DimSize = 14 12 0"),
        ("MET_SHORT", "MET_SHRT", "'MET_SHRT'"),
        ("BinaryData = True", "BinaryData = False", "not a readable volume"),
        ("TransformMatrix = 1", "TransformMatrix = 0", "determinant is 0"),
        ("ElementSpacing = 1", "ElementSpacing = 0", "Zero-valued spacing"),
    ],
)
def test_headers_that_make_no_sense_are_refused_in_one_line(
    line: str, wrong: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.mha"
    write(path)
    content = path.read_bytes()
    assert line.encode() in content
    path.write_bytes(content.replace(line.encode(), wrong.encode()))
    found = refused(path, capfd)
    assert str(path) in found or path.name in found
    assert said in found
    assert "No such file" not in found


@pytest.mark.parametrize(("place", "value"), [(70, b"\xff\x7f"), (108, b"\0\0\xc8\x42"), (252, b"\x09")])
def test_nibabels_log_does_not_reach_the_terminal(
    place: int, value: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(nib.Nifti1Image(VOXELS, np.eye(4)).to_bytes())
    content[place : place + len(value)] = value
    (tmp_path / "x.nii").write_bytes(content)
    assert "x.nii: not a readable volume" in refused(tmp_path / "x.nii", capfd)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_libtiff_and_pillow_are_silent(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "TIFF", compression=compression)
    whole = content.getvalue()
    for broken in (whole[: len(whole) // 2], whole[:-60] + bytes(20) + whole[-40:], flipped(whole, len(whole) // 2)):
        with suppress(UserError):  # some of the damage is none to a decoder
            read_image(Path("x.tif"), broken)
    assert capfd.readouterr() == ("", "")


def test_stderr_is_back_after_the_last_thread(capfd: pytest.CaptureFixture[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet_libraries():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(10)
    with quiet_libraries():
        os.write(2, b"hidden ")
    os.write(2, b"still hidden ")
    leave.set()
    thread.join()
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_data_check_says_it_in_one_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for index in range(4):
        write(tmp_path / f"data/v{index}.mhd", voxels=VOXELS + index)
        write(tmp_path / f"data/v{index}_seg.mhd", voxels=np.greater(VOXELS, 500 + index).astype(np.uint8))
    assert call("data", "init", "data", "--output", "card.toml")[0] == 0
    (tmp_path / "data/v1.raw").unlink()
    raw = tmp_path / "data/v2.raw"
    raw.write_bytes(raw.read_bytes()[:-1])
    code, out, err = call("data", "check", "card.toml", "--data-root", "data")
    assert code != 0
    assert "data/v2.raw: expected 3360 bytes of voxels of v2.mhd, found 3359" in out + err
    assert "data/v1.raw: expected a file with the 3360 bytes of voxels of v1.mhd, found none" in out + err
    answer = call(
        "run", "--methods", "supervised", "--dataset", "card.toml", "--data-root", "data", "--protocol", "tiny"
    )
    assert_error(answer, "v1.raw: expected a file with the 3360 bytes")


def test_pillows_warnings_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # announces five entries and has none
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(path, exif=exif)
    code = (
        "import sys; from pathlib import Path; from ssl_bench.data.pictures import read_image\n"
        "path = Path(sys.argv[1])\n"
        "print(read_image(path, path.read_bytes()).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(60, 60, 3)\n", "")
