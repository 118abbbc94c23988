"""UCMT beside a training loop as papers' code has it: a DataLoader over image files, one network call after the other.

Both train the same three networks on views that are drawn at 512 x 512, with the settings of `released-code`. The loop
is written here, plainly, in the manner of such code: PIL images, torchvision's transforms, two optimisers, regions cut
out by unfold and fold, losses read with .item() every step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from drawing import FILES, WORKERS, write_files
from iteration import harness
from PIL import Image
from timing import Ratio, Settings, compare
from torch import Tensor
from torch.nn.functional import fold, one_hot, unfold
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as t
from torchvision.transforms import functional as f

from ssl_bench.training.trainer import Trainer

DRAWN, SIDE, BATCH, REGIONS, K = 512, 128, 8, 16, 2
ENCODER = "tu-tf_efficientnet_lite0"
NETWORK = {  # of protocol `mini`, which a CPU can train
    "encoder": ENCODER, "encoder_weights": "none", "output_stride": 16, "aspp": "separable",
    "image_size": SIDE, "labeled_batch": BATCH, "unlabeled_batch": BATCH, "augment_size": DRAWN,
}  # fmt: skip
GOAL = ">= 1.5"


def ratios(settings: Settings) -> Iterator[Ratio]:
    """An epoch of the loop, and as many iterations of ours, in turn; the loader's workers end with their epoch."""
    with (
        harness("ucmt", 2, "fp32", released(settings), **NETWORK) as trainer,
        tempfile.TemporaryDirectory() as folder,
    ):
        write_files(Path(folder))
        stream, loop = trainer.open_stream(), Loop(trainer, Path(folder), settings.device)

        def ours() -> None:
            for _ in range(FILES // BATCH):
                trainer.iterate(stream)

        what = f"{FILES // BATCH} iterations of ucmt 2D released-code at {SIDE}, drawn at {DRAWN}"
        yield compare("peer", what, ("harness", ours), ("plain loop", loop.epoch), settings, GOAL)


def released(settings: Settings) -> Settings:
    """The settings with protocol `released-code`."""
    return Settings(settings.device, settings.repeats, settings.methods, "released-code", settings.precisions)


class ImageFolder(Dataset[list[Tensor]]):
    """Image, mask and two strong views of each file, as tensors."""

    def __init__(self, folder: Path, mean: list[float], std: list[float]) -> None:
        self.folder = folder
        jitter = t.ColorJitter(0.5, 0.5, 0.5, 0.25)
        self.strong = t.Compose([
            t.RandomApply([jitter], 0.8), t.RandomPosterize(5, 0.2), t.RandomAutocontrast(0.2), t.RandomEqualize(0.2),
            t.RandomApply([t.GaussianBlur(3, (0.1, 2.0))], 0.5),
        ])  # fmt: skip
        self.to_input = t.Compose([t.Resize([SIDE, SIDE]), t.ToTensor(), t.Normalize(mean, std)])

    def __len__(self) -> int:
        return FILES

    def __getitem__(self, number: int) -> list[Tensor]:
        image = Image.open(self.folder / f"{number}.jpg").convert("RGB").resize((DRAWN, DRAWN))
        mask = Image.open(self.folder / f"{number}.png").convert("L").resize((DRAWN, DRAWN), Image.Resampling.NEAREST)
        for flip in (f.hflip, f.vflip):
            if torch.rand(()) < 0.5:
                image, mask = flip(image), flip(mask)
        if torch.rand(()) < 0.5:
            angle = float(torch.empty(()).uniform_(-180, 180))
            image, mask = f.rotate(image, angle), f.rotate(mask, angle)
        strong1 = self.strong(image)
        strong2 = self.strong(strong1)
        label = f.pil_to_tensor(f.resize(mask, [SIDE, SIDE], f.InterpolationMode.NEAREST))[0] > 127
        return [self.to_input(image), label.long(), self.to_input(strong1), self.to_input(strong2)]


class Loop:
    """Two students and a teacher, smp's networks as they come; two optimisers; two loaders."""

    def __init__(self, trainer: Trainer, folder: Path, device: torch.device) -> None:
        protocol = trainer.protocol
        self.student1, self.student2, self.teacher = (
            smp.DeepLabV3Plus(ENCODER, encoder_weights=None, encoder_output_stride=16, classes=2).to(device).train()
            for _ in range(3)
        )
        self.device, self.count = device, 0
        self.optimizers = [
            torch.optim.AdamW(student.parameters(), lr=protocol.learning_rate)
            for student in (self.student1, self.student2)
        ]
        images = ImageFolder(folder, list(protocol.input_mean), list(protocol.input_std))
        self.labeled, self.unlabeled = (
            DataLoader(images, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True) for _ in range(2)
        )

    def epoch(self) -> None:
        """One pass over the files."""
        for labeled, unlabeled in zip(self.labeled, self.unlabeled, strict=True):
            self.step([one.to(self.device) for one in labeled], [one.to(self.device) for one in unlabeled])

    def step(self, labeled: list[Tensor], unlabeled: list[Tensor]) -> None:
        """Both updates of Algorithm 1."""
        (image, label, image1, _), (other, _, other1, other2) = labeled, unlabeled
        on_labeled = [self.student1(image), self.student2(image)]
        on_other = [self.student1(other1), self.student2(other2)]
        with torch.no_grad():
            by_teacher, other_by_teacher = self.teacher(image), self.teacher(other)
        pseudo = other_by_teacher.argmax(1)
        self.update(on_labeled, label, on_other, pseudo)
        with torch.no_grad():
            first, second = ranked(on_labeled, by_teacher), ranked(on_other, other_by_teacher)
            mixed, mixed_label = swapped(image1, *first), swapped(label[:, None].float(), *first)[:, 0].long()
            other_mixed = swapped(other1, *second)
            pseudo = swapped(pseudo[:, None].float(), *second)[:, 0].long()
        on_labeled = [self.student1(mixed), self.student2(mixed)]
        on_other = [self.student1(other_mixed), self.student2(other_mixed)]
        self.update(on_labeled, mixed_label, on_other, pseudo)
        self.count += 1

    def update(self, on_labeled: list[Tensor], label: Tensor, on_other: list[Tensor], pseudo: Tensor) -> None:
        """One loss, one step of each optimiser, one step of the teacher."""
        supervised: Any = sum(dice(logits, label) for logits in on_labeled)
        one, two = on_other
        crossed = (dice(one, two.detach().argmax(1)) + dice(two, one.detach().argmax(1))) * 0.5
        taught = (dice(one, pseudo) + dice(two, pseudo)) * 0.5
        loss: Any = supervised + 0.1 * (crossed + taught)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(1 - 1 / (self.count + 1), 0.99)
        students = zip(self.student1.parameters(), self.student2.parameters(), strict=True)
        with torch.no_grad():
            for own, (first, second) in zip(self.teacher.parameters(), students, strict=True):
                own.mul_(decay).add_(0.99 * first + 0.01 * second, alpha=1 - decay)
        self.losses = [value.item() for value in (supervised, crossed, taught, loss)]


def dice(logits: Tensor, label: Tensor) -> Tensor:
    """1 - the mean over classes of the soft Dice coefficient."""
    probability = logits.softmax(1)
    truth = one_hot(label, 2).movedim(-1, 1).float()
    shared = (probability * truth).sum((0, 2, 3))
    return 1 - ((2 * shared + 1) / ((probability + truth).sum((0, 2, 3)) + 1)).mean()


def ranked(students: list[Tensor], teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Regions of each image from the most uncertain to the least, by the first and by the second student."""
    side = SIDE // REGIONS
    orders = []
    for student in students:
        mean = (student.softmax(1) + teacher.softmax(1)) / 2
        entropy = -(mean * (mean + 1e-6).log()).sum(1, keepdim=True)
        orders.append(unfold(entropy, side, stride=side).mean(1).argsort(1, descending=True))
    return orders[0], orders[1]


def swapped(images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Uncertain regions of one student replaced by the other's certain ones, image by image."""
    side = SIDE // REGIONS
    regions = unfold(images, side, stride=side)
    for number in range(len(images)):
        regions[number, :, first[number, :K]] = regions[number, :, second[number, -K:]]
        regions[number, :, second[number, :K]] = regions[number, :, first[number, -K:]]
    return fold(regions, (SIDE, SIDE), side, stride=side)
