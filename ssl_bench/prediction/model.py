"""LoadedModel: a finished run's network with all that its input and output need, for use outside of the harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssl_bench.cards import ImageProtocol, RunSpec
from ssl_bench.data.batches import channels_first, input_statistics, normalise
from ssl_bench.data.dataset import resize
from ssl_bench.data.slices import to_bytes, to_slices
from ssl_bench.ops import Ensemble, ExponentialMovingAverage
from ssl_bench.prediction.masks import files_of
from ssl_bench.prediction.outputs import label_values
from ssl_bench.prediction.predictor import Predictor
from ssl_bench.prediction.raw_images import NAME, as_pixels, as_voxels
from ssl_bench.prediction.scores import Scores, flips_of, pixel_scores, voxel_scores
from ssl_bench.scoring.inference import class_map
from ssl_bench.training.device import keeping_torch_state, set_determinism
from ssl_bench.version import current_version


class LoadedModel(nn.Module):
    """A finished run's network in evaluation mode, with the preparation of its images.

    `predict` and `probabilities` take an image as it is and give what `ssl-bench predict` writes for its file, at the
    image's size. `forward` takes what `preprocess` returns.

    Attributes:
        network: images (B, C, *sides) float32 -> logits (B, K, *sides).
        run: the run's folder.
        spec: the run's specification.
        name: the network's name in the run.

    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network = _standing_alone(predictor.network)
        self.run: Path = predictor.run
        self.spec: RunSpec = predictor.spec
        self.name: str = predictor.name
        self._predictor = replace(predictor, network=self.network)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, background first."""
        return self.spec.classes

    @property
    def label_values(self) -> tuple[int, ...]:
        """The value of each class in a mask."""
        return self.spec.label_values

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides of the network's input, in pixels or voxels: of an image or slice, or of a volume's windows."""
        protocol = self.spec.protocol
        return (protocol.image_size,) * 2 if isinstance(protocol, ImageProtocol) else protocol.patch_size

    @property
    def metadata(self) -> dict[str, Any]:
        """What an exported file says of the network, as plain data."""
        spec = self.spec
        optional = {"label_seed": spec.label_seed, "channel_names": spec.channel_names}
        return {
            "ssl_bench": current_version(), "run": spec.run_id, "method": spec.method, "network": self.name,
            "seed": spec.seed, "dataset": spec.benchmark, "labeled": f"{spec.labeled}/{spec.train_units}",
            "classes": spec.classes, "label_values": spec.label_values, "channels": spec.channel_count,
            "sides": self.sides, "input": self._input(), "output": "logits",
            "protocol": spec.protocol.model_dump(mode="json"),
            **{key: value for key, value in optional.items() if value is not None},
        }  # fmt: skip

    def _input(self) -> dict[str, Any]:
        """How the network's input is made from an image."""
        spec, protocol, cpu = self.spec, self.spec.protocol, torch.device("cpu")
        if not isinstance(protocol, ImageProtocol):
            windows = {"patch": protocol.patch_size, "stride": protocol.stride}
            return {"intensity": spec.intensity, **self._stored(), **windows}
        mean, std = (one.flatten().tolist() for one in input_statistics(protocol, spec.channel_count, cpu))
        resized = [protocol.augment_size, protocol.image_size]
        return {**self._stored(), "resize": resized, "scale": 255, "mean": mean, "std": std}

    def _stored(self) -> dict[str, Any]:
        """How what files store becomes 8 bits, or lies on the axes that the network sees."""
        spec, reading, optional = self.spec, self._predictor.reading, dict[str, Any]()
        if spec.dimensions == 2:
            files = files_of(reading, None)
            turn = None if files.exif_orientation == "refuse" else files.exif_orientation
            optional |= {"intensity_range": files.intensity_range, "exif_orientation": turn}
        else:
            transposed = spec.axes if spec.axes == "zyx" else None
            optional |= {"axes": reading.axes, "hdf5_axes": transposed, "slice_window": spec.slice_window}
        return {key: value for key, value in optional.items() if value is not None}

    def forward(self, images: Tensor) -> Tensor:
        """Network input (B, C, *sides) -> logits (B, K, *sides), in the run's precision."""
        precision = self.spec.protocol.precision
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits: Tensor = self.network(images)
        return logits

    def preprocess(self, image: np.ndarray) -> Tensor:
        """Bring an image to the network's input, on the network's device.

        Args:
            image: as `predict` takes it.

        Returns:
            2D: (1, C, *sides). Slices: (Z, C, *sides), x to the right and y down. Volumes: (1, C, X, Y, Z), of which
            the network takes windows of `sides`; a shorter side is padded with zeros, half of them in front.

        Raises:
            UserError: as `predict`.
        """
        predictor, protocol = self._placed(), self.spec.protocol
        if self.spec.dimensions == 2:
            images = as_pixels(image, predictor)[None]
        else:
            voxels = as_voxels(image, predictor, None)
            if self.spec.slice_window is None:
                return torch.from_numpy(voxels)[None].to(self.device)
            images = to_slices(to_bytes(voxels, self.spec.slice_window, NAME))
        assert isinstance(protocol, ImageProtocol), "images and slices are for 2D networks"
        squares = channels_first(np.stack([resize(one, protocol.augment_size) for one in images])).to(self.device)
        mean, std = input_statistics(protocol, squares.shape[1], self.device)
        return normalise(squares, protocol.image_size, mean, std, protocol.channels_last)

    def predict(
        self, image: np.ndarray, *, tta: str | None = None, spacing: Sequence[float] | None = None
    ) -> np.ndarray:
        """Return the mask of an image at its own size, with the values of the run's data set (`label_values`).

        Args:
            image: 2D: (H, W) or (H, W, C) uint8; other numbers where the run's card has an `intensity_range`. 3D:
                (X, Y, Z), or (C, X, Y, Z) of several channels, with the intensities of the file and on the axes of the
                training volumes: right, anterior, superior, unless these were HDF5 files.
            tta: "flips": average over flips, as `ssl_bench.predict` does.
            spacing: 3D: distances between voxels in mm; slices are refused where voxels are thick along x or y.

        Raises:
            UserError: the image has other axes or channels, or values without a meaning.
        """
        with _as_in_scoring():
            scores = self._scores(image, tta, spacing)
            mask: np.ndarray = label_values(self.spec)[class_map(scores.values, self.spec.protocol)]
        return mask

    def probabilities(
        self, image: np.ndarray, *, tta: str | None = None, spacing: Sequence[float] | None = None
    ) -> np.ndarray:
        """Return each class's probability (K, *spatial) float32 at the image's own size; arguments as of `predict`.

        Of volumes it is the windows' mean.
        """
        with _as_in_scoring():
            return self._scores(image, tta, spacing).probabilities.cpu().numpy()

    def _scores(self, image: np.ndarray, tta: str | None, spacing: Sequence[float] | None) -> Scores:
        predictor, flips = self._placed(), flips_of(tta)
        if self.spec.dimensions == 2:
            return next(pixel_scores(predictor, [as_pixels(image, predictor)], flips))
        return voxel_scores(predictor, as_voxels(image, predictor, spacing), NAME, flips)

    def _placed(self) -> Predictor:
        """The network where it is now."""
        return replace(self._predictor, device=self.device)


class _Members(Ensemble):
    """The mean prediction of networks that are registered as parts, so that they are moved and saved with it."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__(*networks)
        self.members = nn.ModuleList(networks)


def _standing_alone(network: nn.Module) -> nn.Module:
    """Return a network apart from its run: of a teacher its own network, of an ensemble one that holds its members."""
    if isinstance(network, ExponentialMovingAverage):
        return _standing_alone(network.network)
    if isinstance(network, Ensemble):
        return _Members(*map(_standing_alone, network.networks))
    return network


@contextmanager
def _as_in_scoring() -> Iterator[None]:
    """Within `with`, torch has the settings of scoring, and afterwards the user's."""
    with keeping_torch_state():
        set_determinism()
        yield
