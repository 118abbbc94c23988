"""The mean of networks, runs and flips: against a plain mean of single predictions, and what cannot be averaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
from conftest import Call, assert_error, draw_case, write_dataset
from PIL import Image
from test_prediction import CARD, NIFTI, THREE, VALUES, draw_volume, write_nifti

import ssl_bench
from ssl_bench.cards import load_benchmark
from ssl_bench.store import Run

FLIPS = ([], [0], [1], [0, 1])  # of rows and columns, or of x and y


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Short runs on ten images, and on six volumes as volumes and by slices."""
    home = tmp_path_factory.mktemp("home")
    write_dataset(home / "discs", "kvasir", [f"c{number}" for number in range(10)])
    cards = {"kvasir": "kvasir"}
    for name in ("boxes", "layers"):
        for index in range(6):
            image, labels = draw_volume(index)
            write_nifti(home / f"{name}/case{index}.nii.gz", image)
            write_nifti(home / f"{name}/masks/case{index}.nii.gz", VALUES.astype(np.int16)[labels])
        text = CARD.format(name=name, dimensions=3, classes=THREE, layout=NIFTI)
        cards[name] = str(home / f"{name}.toml")
        Path(cards[name]).write_text(text if name == "boxes" else text.replace("= 3", "= 3\nslices = true", 1))

    def trained(name: str, folder: str, method: str = "supervised", **changes: Any) -> list[Run]:
        settings = {"iterations": 5, "learning_rate": 1e-2, **changes.pop("settings", {})}
        return ssl_bench.run(
            method, cards[name], labeled=2, protocol="tiny", device="cpu", settings=settings, allow_partial=True,
            data_root=home / folder, results_root=home / "results", **changes,
        ).runs  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", str(home / "cache"))
        first, second = trained("kvasir", "discs", seeds=(1, 2))
        (larger,) = trained("kvasir", "discs", settings={"image_size": 48, "augment_size": 48})
        (pair,) = trained("kvasir", "discs", "cps")
        one, other = trained("boxes", "boxes", seeds=(1, 2))
        (slices,) = trained("layers", "layers")
    return {
        "first": first, "second": second, "larger": larger, "pair": pair, "one": one, "other": other, "slices": slices,
    }  # fmt: skip


def image_file(folder: Path, number: int = 3) -> tuple[Path, np.ndarray]:
    image, _ = draw_case(number, (52, 37))
    path = folder / f"image{number}.png"
    Image.fromarray(image).save(path)
    return path, image


def volume_file(folder: Path) -> tuple[Path, np.ndarray]:
    voxels, _ = draw_volume(7)
    path = folder / "volume.nii.gz"
    write_nifti(path, voxels)
    return path, voxels


def voxels_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def entropy_of(probabilities: np.ndarray) -> np.ndarray:
    """Entropy divided by ln K, of probabilities (K, ...) above 0."""
    return -(probabilities * np.log(probabilities)).sum(0) / np.log(len(probabilities))


# ------------------------------------------------------------------------------------------------------------ networks


def test_the_mean_of_runs_of_other_seeds_and_sizes_is_that_of_their_single_predictions(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    path, image = image_file(tmp_path)
    members = [runs[name] for name in ("first", "second", "larger")]
    single = [ssl_bench.load_model(run).probabilities(image) for run in members]
    mean = (single[0].astype(float) + single[1] + single[2]) / 3
    assert np.abs(single[0] - mean).max() > 0.01, "the runs must differ for the mean to be tested"
    masks = ssl_bench.predict(
        members[0], path, tmp_path / "out", ensemble=members[1:], probabilities=True, uncertainty=True
    )
    written = {one.name: np.asarray(Image.open(one)) for one in (tmp_path / "out").iterdir()}
    assert np.array_equal(written["image3.png"], np.array([0, 255])[mean.argmax(0)])
    assert np.abs(written["image3_prob_polyp.png"] - 255 * mean[1]).max() <= 0.5001
    assert np.abs(written["image3_uncertainty.png"] - 255 * entropy_of(mean)).max() <= 0.51
    assert [run.spec.label in text for run, text in zip(members, masks.members, strict=True)] == [True] * 3


def test_the_mean_of_volumes_is_that_of_their_single_predictions(
    runs: dict[str, Run], call: Call, tmp_path: Path
) -> None:
    path, _ = volume_file(tmp_path)
    one, other = runs["one"], runs["other"]
    kind = ("--probabilities", "--uncertainty", "--device", "cpu")
    for name, words in {
        "one": [one.path], "other": [other.path], "both": [one.path, "--ensemble", other.path]
    }.items():  # fmt: skip
        code, out, err = call("predict", words[0], path, *words[1:], *kind, "--output", name)
        assert (code, err) == (0, "")
    assert "by the mean of 2 networks: network of supervised" in out
    first, second, both = (
        np.stack([voxels_of(Path(f"{name}/volume_prob_{part}.nii.gz")) for part in ("left-part", "b-c")])
        for name in ("one", "other", "both")
    )
    mean = (first.astype(float) + second) / 2
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(both, mean, atol=1e-6)
    uncertainty = voxels_of(Path("both/volume_uncertainty.nii.gz"))
    np.testing.assert_allclose(uncertainty, entropy_of(np.stack([1 - mean.sum(0), *mean])), atol=1e-5)


def test_networks_of_one_run_are_averaged_by_their_names(runs: dict[str, Run], call: Call, tmp_path: Path) -> None:
    path, image = image_file(tmp_path)
    run = runs["pair"]
    single = [ssl_bench.load_model(run, network=name).probabilities(image) for name in ("student1", "student2")]
    code, out, _ = call("predict", run.path, path, "--network", "student1,student2", "--output", "out")
    assert code == 0
    assert "student1 of cps" in out
    assert "student2 of cps" in out
    mask = np.asarray(Image.open("out/image3.png"))
    assert np.array_equal(mask, np.array([0, 255])[(single[0].astype(float) + single[1]).argmax(0)])


# --------------------------------------------------------------------------------------------------------------- flips


@pytest.mark.parametrize("name", ["first", "one", "slices"])
def test_flips_are_averaged_as_by_a_loop_over_flipped_images(name: str, runs: dict[str, Run], tmp_path: Path) -> None:
    path, image = image_file(tmp_path) if name == "first" else volume_file(tmp_path)
    model = ssl_bench.load_model(runs[name])
    found, unflipped = model.probabilities(image, tta="flips"), model.probabilities(image)
    total = np.zeros(unflipped.shape)
    for axes in FLIPS:
        flipped = model.probabilities(np.flip(image, axes))
        total += np.flip(flipped, [1 + axis for axis in axes])
    assert np.abs(found - unflipped).max() > 1e-3, "flips must matter for the mean to be tested"
    np.testing.assert_allclose(found, total / 4, atol=1e-5)
    (written,) = ssl_bench.predict(runs[name], path, tmp_path / "out", tta="flips").paths
    mask = np.asarray(Image.open(written)) if name == "first" else voxels_of(written)
    assert np.array_equal(mask, model.predict(image, tta="flips"))


def test_flips_and_runs_are_averaged_together(runs: dict[str, Run], tmp_path: Path) -> None:
    path, image = image_file(tmp_path)
    members = [runs["first"], runs["second"]]
    parts = [
        np.flip(model.probabilities(np.flip(image, axes)), [1 + axis for axis in axes])
        for model in map(ssl_bench.load_model, members)
        for axes in FLIPS
    ]
    ssl_bench.predict(members[0], path, tmp_path / "out", ensemble=members[1], tta="flips", probabilities=True)
    mean = np.mean(np.stack(parts).astype(float), axis=0)
    assert np.abs(np.asarray(Image.open(tmp_path / "out/image3_prob_polyp.png")) - 255 * mean[1]).max() <= 0.5001


def test_all_networks_see_an_image_as_the_first_run_turns_it(runs: dict[str, Run], tmp_path: Path) -> None:
    """By EXIF the image stands on its head; a run that ignores this is averaged with one that does not."""
    plain, image = image_file(tmp_path)
    path, upright = tmp_path / "turned.png", tmp_path / "upright.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(image).save(path, exif=exif)
    Image.fromarray(image[::-1, ::-1]).save(upright)
    layout = load_benchmark("kvasir").files
    assert layout is not None
    applying, ignoring = (
        other_run(run, tmp_path / rule, layout=layout.model_dump(mode="json") | {"exif_orientation": rule})
        for run, rule in ((runs["first"], "apply"), (runs["second"], "ignore"))
    )
    for name, first, other, same in (("a", applying, ignoring, upright), ("b", ignoring, applying, plain)):
        for file in (path, same):
            ssl_bench.predict(first, file, tmp_path / name, ensemble=other, probabilities=True)
        found, expected = (tmp_path / name / f"{one.stem}_prob_polyp.png" for one in (path, same))
        assert found.read_bytes() == expected.read_bytes()


def test_arrays_are_read_in_the_order_of_axes_of_the_first_run(runs: dict[str, Run], tmp_path: Path) -> None:
    voxels, _ = draw_volume(7)
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        file["image"] = voxels.swapaxes(0, 2)
    first = other_run(runs["one"], tmp_path / "first", axes="zyx")
    second = other_run(runs["other"], tmp_path / "second", axes="xyz")
    ssl_bench.predict(
        first, tmp_path / "volume.h5", tmp_path / "out", ensemble=second, probabilities=True, array_axes="as-stored"
    )
    parts = [ssl_bench.load_model(run).probabilities(voxels) for run in (first, second)]
    found = nib.load(tmp_path / "out" / "volume_prob_left-part.nii.gz").get_fdata()
    np.testing.assert_allclose(found, np.mean(parts, axis=0)[1], atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- refusals


def other_run(run: Run, folder: Path, **changes: Any) -> Path:
    """A copy of a run's folder whose specification has other values."""
    shutil.copytree(run.path, folder)
    data = json.loads((folder / "run.json").read_text())
    data["spec"] |= changes
    (folder / "run.json").write_text(json.dumps(data))
    return folder


def test_runs_that_are_unlike_are_refused(runs: dict[str, Run], call: Call, tmp_path: Path) -> None:
    path, _ = image_file(tmp_path)
    run = runs["first"]
    renamed = other_run(run, tmp_path / "renamed", classes=["background", "cell"])
    valued = other_run(run, tmp_path / "valued", label_values=[0, 1])
    for other, words in (
        (runs["one"].path, ["dimensions", "2, found 3"]),
        (renamed, ["classes", "background, polyp, found background, cell"]),
        (valued, ["values in masks", "0, 255, found 0, 1"]),
        (run.path, ["each network once", "'network' twice"]),
    ):
        answer = call("predict", run.path, path, "--ensemble", other, "--output", "out")
        assert_error(answer, "--ensemble", str(other), *words)
    assert not Path("out").exists()


def test_a_run_for_the_mean_must_be_finished_and_have_weights(runs: dict[str, Run], call: Call, tmp_path: Path) -> None:
    path, _ = image_file(tmp_path)
    run, bare = runs["first"], tmp_path / "bare"
    shutil.copytree(runs["second"].path, bare)
    (bare / "weights.safetensors").unlink()
    for other, words in (("0000", ["'0000' names none"]), (bare, [str(bare), "an export without --weights"])):
        assert_error(call("predict", run.path, path, "--ensemble", other, "--output", "out"), *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tta", "rotations"], "--tta: expected flips; found 'rotations'"),
        (["--network", ","], "--network: expected a network's name, found none"),
        (["--network", "network,teacher"], "--network: expected one of network; found 'teacher'"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], message: str, runs: dict[str, Run], call: Call, tmp_path: Path
) -> None:
    path, _ = image_file(tmp_path)
    assert_error(call("predict", runs["first"].path, path, *words, "--output", "out"), message)
    assert not Path("out").exists()
