"""Small data sets in the layouts in which known ones are published. Each function returns the class numbers by id."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

Truth = dict[str, np.ndarray]
SIDE = 32
AFFINE = np.diag([-1.5, -1.5, 10.0, 1.0])


def picture(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def box(seed: int, value: int = 1) -> np.ndarray:
    """A rectangle of a class, placed by the seed."""
    numbers = np.zeros((SIDE, SIDE), np.uint8)
    row, column = np.random.default_rng(seed).integers(2, 14, 2)
    numbers[row : row + 12, column : column + 10] = value
    return numbers


def volume(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)


def scan(seed: int, *more: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(300, 80, (20, 18, 4, *more)).astype(np.float32)


def organs(seed: int, classes: int) -> np.ndarray:
    numbers = np.zeros((20, 18, 4), np.uint8)
    start = int(np.random.default_rng(seed).integers(1, 4))
    for number in range(1, classes):
        numbers[start : start + 9, 5 * number - 4 : 5 * number, 1:3] = number
    return numbers


def canonical(numbers: np.ndarray) -> np.ndarray:
    """On the axes right, anterior, superior, as AFFINE says."""
    return numbers[::-1, ::-1]


def acdc(root: Path) -> Truth:
    truth, seed = Truth(), 0
    for part, patients in (("training", (1, 2, 3)), ("testing", (101, 102))):
        for number in patients:
            patient = f"patient{number:03d}"
            folder = root / part / patient
            volume(folder / f"{patient}_4d.nii.gz", scan(number, 3))
            (folder / "Info.cfg").write_text("ED: 1\nES: 12\n")
            for frame in ("frame01", f"frame{number % 7 + 8:02d}"):
                numbers = organs(seed := seed + 1, 4)
                volume(folder / f"{patient}_{frame}.nii.gz", scan(seed))
                volume(folder / f"{patient}_{frame}_gt.nii.gz", numbers)
                truth[f"{part}/{patient}_{frame}"] = canonical(numbers)
    return truth


def busi(root: Path) -> Truth:
    truth, seed = Truth(), 0
    for kind in ("benign", "malignant", "normal"):
        for number in range(1, 6):
            name, seed = f"{kind} ({number})", seed + 1
            folder = root / "Dataset_BUSI_with_GT" / kind
            numbers = box(seed, 0 if kind == "normal" else 1)
            picture(folder / f"{name}.png", photo(seed))
            picture(folder / f"{name}_mask.png", 255 * numbers)
            if name == "benign (4)":
                for again in (1, 2):
                    picture(folder / f"{name}_mask_{again}.png", 255 * box(100 + again))
                    numbers = numbers | box(100 + again)
            truth[name] = numbers
    return truth


def drive(root: Path, tested: bool = True) -> Truth:
    """Images, vessels by one or two persons, and fields of view."""
    truth = Truth()
    view = 255 * (np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 2)) < SIDE / 2).astype(np.uint8)
    for part, first in (("training", 21), ("test", 1)):
        for number in range(first, first + 5):
            folder, name = root / part, f"{number:02d}"
            picture(folder / "images" / f"{name}_{part}.tif", photo(number))
            picture(folder / "mask" / f"{name}_{part}_mask.gif", view)
            if part == "training" or tested:
                picture(folder / "1st_manual" / f"{name}_manual1.gif", 255 * box(number))
                truth[f"{part}/{name}" if tested else name] = box(number)
            if part == "test" and tested:
                picture(folder / "2nd_manual" / f"{name}_manual2.gif", 255 * box(number + 50))
    return truth


def chase(root: Path) -> Truth:
    truth = Truth()
    for number in range(1, 5):
        for eye, seed in (("L", 2 * number), ("R", 2 * number + 1)):
            name = f"Image_{number:02d}{eye}"
            picture(root / f"{name}.jpg", photo(seed), quality=95)
            picture(root / f"{name}_1stHO.png", 255 * box(seed))
            picture(root / f"{name}_2ndHO.png", 255 * box(seed + 50))
            truth[name] = box(seed)
    return truth


def nnunet(root: Path, channels: tuple[str, ...] = ("CT",), ending: str = ".nii.gz") -> Truth:
    """A file for each channel; test images have no labels."""
    truth = Truth()
    for number in range(1, 7):
        name = f"liver_{number:03d}"
        part = "Tr" if number < 6 else "Ts"
        numbers = organs(number, 3)
        for channel in range(len(channels)):
            volume(root / f"images{part}" / f"{name}_{channel:04d}{ending}", scan(10 * number + channel))
        if part == "Tr":
            volume(root / "labelsTr" / f"{name}{ending}", numbers)
            truth[name] = canonical(numbers)
    described = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, "liver": 1, "tumour": 2}, "numTraining": 5, "file_ending": ending,
        "name": "Livers", "licence": "CC-BY-SA 4.0", "reference": "https://example.org/livers",
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(described))
    return truth


def msd(root: Path, channels: int = 1) -> Truth:
    """One file for all channels; macOS has left its own beside each."""
    truth, training, test = Truth(), [], []
    for number in range(1, 7):
        name = f"hippocampus_{number:03d}.nii.gz"
        numbers = organs(number, 3)
        part = "Tr" if number < 6 else "Ts"
        volume(root / f"images{part}" / name, scan(number, *([channels] if channels > 1 else [])))
        (root / f"images{part}" / f"._{name}").write_bytes(b"\x00\x05\x16\x07")
        if part == "Ts":
            test.append(f"./imagesTs/{name}")
            continue
        volume(root / "labelsTr" / name, numbers)
        (root / "labelsTr" / f"._{name}").write_bytes(b"\x00\x05\x16\x07")
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        truth[name.removesuffix(".nii.gz")] = canonical(numbers)
    modality = {"0": "MRI"} if channels == 1 else {"0": "T2", "1": "ADC"}
    (root / "dataset.json").write_text(json.dumps({
        "name": "Hippocampus", "description": "Left and right hippocampus", "reference": "Vanderbilt University",
        "licence": "CC-BY-SA 4.0", "release": "1.0", "tensorImageSize": "3D", "modality": modality,
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "numTraining": 5, "numTest": 1,
        "training": training, "test": test,
    }))  # fmt: skip
    return truth


def glas(root: Path) -> Truth:
    """Masks number the glands."""
    truth = Truth()
    lines = ["name,patient ID, grade (GlaS)"]
    for part, count in (("train", 6), ("testA", 2), ("testB", 2)):
        for number in range(1, count + 1):
            name, seed = f"{part}_{number}", len(truth)
            numbers = np.zeros((SIDE, SIDE), np.uint8)
            for gland in range(1, 3 + 3 * (number % 4)):
                row, column = divmod(gland - 1, 4)
                numbers[1 + 8 * row : 6 + 8 * row, 1 + 8 * column : 6 + 8 * column] = gland
            picture(root / f"{name}.bmp", photo(seed))
            picture(root / f"{name}_anno.bmp", numbers)
            lines.append(f"{name},{number}, benign")
            truth[name] = (numbers > 0).astype(np.uint8)
    (root / "Grade.csv").write_text("\n".join(lines))
    return truth


def polypgen(root: Path) -> Truth:
    """A folder for each centre, and ids that two centres may share."""
    truth = Truth()
    for centre in range(1, 5):
        folder = root / f"data_C{centre}"
        for number in range(1, 4):
            name, seed = f"{100 + number}OLCV1_100H{number:04d}", 10 * centre + number
            picture(folder / f"images_C{centre}" / f"{name}.jpg", photo(seed), quality=95)
            picture(folder / f"masks_C{centre}" / f"{name}_mask.jpg", 255 * box(seed), quality=95)
            (folder / f"bbox_C{centre}").mkdir(exist_ok=True)
            (folder / f"bbox_C{centre}" / f"{name}_mask.txt").write_text("polyp 1 2 3 4\n")
            picture(folder / f"bbox_image_C{centre}" / f"{name}.jpg", photo(seed + 100), quality=95)
            truth[f"C{centre}/{name}"] = box(seed)
    return truth


LAYOUTS: dict[str, Callable[[Path], Truth]] = {
    "acdc": acdc, "busi": busi, "drive": drive, "chase": chase, "nnunet": nnunet, "msd": msd, "glas": glas,
    "polypgen": polypgen,
}  # fmt: skip
