"""Names of predicted masks."""

from pathlib import Path

from ssl_bench.data.images import CaseFiles
from ssl_bench.prediction.outputs import stems


def named(*paths: str) -> list[str]:
    return stems([CaseFiles(path, Path("/data") / path, None) for path in paths], 2)


def test_a_mask_has_its_images_name_and_as_many_folders_as_tell_it_apart() -> None:
    assert named("a/0.png", "a/1.png") == ["0", "1"]
    assert named("a/0.png", "b/0.png", "b/1.png") == ["a_0", "b_0", "1"]
    assert named("P1/images/0.png", "P2/images/0.png", "P2/images/1.png") == ["P1_images_0", "P2_images_0", "1"]
