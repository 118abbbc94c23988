"""Every forward pass of an iteration, beside what the method's equations need; a pass that nothing needs costs time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from facts import FACTS, WITH_TEACHER
from laboratory import LABELED, UNLABELED, Laboratory, laboratory, protocol_of
from torch import Tensor, nn

from ssl_bench.cards import Views
from ssl_bench.ops import ExponentialMovingAverage

Forward = tuple[str, str, str, str]  # network, images, mode, gradient
PROTOCOLS = ["paper", "released-code"]  # a teacher in evaluation mode, and one in training mode
CASES = [(name, protocol, d) for name, facts in FACTS.items() for protocol in PROTOCOLS for d in facts.dimensions]

# A line: network; images; with gradient or constant; what needs the pass. Images are the view that the protocol gives
# to a network (`labeled/student1`), or `changed`: mixed, noisy, predicted, or a map of theirs that a part
# reads. `:eval`: in evaluation mode.
STUDENT = """
student   labeled/student1    gradient  L_s
student   unlabeled/student1  gradient  the unsupervised loss, y_1
"""
STUDENTS = """
student1  labeled/student1    gradient  L_s
student2  labeled/student2    gradient  L_s
student1  unlabeled/student1  gradient  L_cps and L_mts, y_1
student2  unlabeled/student2  gradient  L_cps and L_mts, y_2
"""
TEACHER = """
teacher   unlabeled/teacher   constant  L_mts, y_0
"""
STUDENTS_ON_MIX = """
student1  labeled/changed     gradient  step 2, L_s
student2  labeled/changed     gradient  step 2, L_s
student1  unlabeled/changed   gradient  step 2, L_cps and L_mts, y_1
student2  unlabeled/changed   gradient  step 2, L_cps and L_mts, y_2
"""
TEACHER_ON_MIX = """
teacher   unlabeled/changed   constant  step 2, L_mts, y_0
"""
UNCERTAINTY = """
student1  labeled/student1    constant  U_1 after the update
student2  labeled/student2    constant  U_2 after the update
student1  unlabeled/student1  constant  U_1 after the update
student2  unlabeled/student2  constant  U_2 after the update
teacher   labeled/teacher     constant  U_1 and U_2 after the update
teacher   unlabeled/teacher   constant  U_1 and U_2 after the update
"""
CCT = """
network.encoder  labeled/student1    gradient  L_s
network.decoder  features            gradient  L_s
network.encoder  unlabeled/student1  gradient  z
network.decoder  features            constant  the target
auxiliary.0      features            constant  I-VAT, p(z)
auxiliary.0      features            gradient  I-VAT, p(z + xi d)
auxiliary.0      features            gradient  I-VAT, p(z + noise)
auxiliary.1      features            gradient  DropOut
auxiliary.2      features            gradient  G-Cutout
auxiliary.3      features            gradient  Con-Msk
auxiliary.4      features            gradient  Obj-Msk
auxiliary.5      features            gradient  F-Drop
auxiliary.6      features            gradient  F-Noise
"""
MCNET = """
network.encoder  labeled/student1    gradient  features of every decoder
network.decoder  features            gradient  L_s and p_1 on labelled images
auxiliary.0      features            gradient  L_s and p_2 on labelled images
network.encoder  unlabeled/student1  gradient  features of every decoder
network.decoder  features            gradient  p_1 on unlabelled images
auxiliary.0      features            gradient  p_2 on unlabelled images
"""
MCNET_PLUS = """
auxiliary.1      features            gradient  L_s and p_3 on labelled images
auxiliary.1      features            gradient  p_3 on unlabelled images
"""
URPC = """
network.encoder            labeled/student1    gradient  L_s
network.segmentation_head  labeled/changed     gradient  L_s of the finest map
heads.0                    labeled/changed     gradient  L_s of the coarser map
network.encoder            unlabeled/student1  gradient  p_s
network.segmentation_head  unlabeled/changed   gradient  p_s of the finest map
heads.0                    unlabeled/changed   gradient  p_s of the coarser map
"""
UGCL = """
network.encoder  labeled/changed    gradient  turned images
network.decoder  features           gradient  L_s
auxiliary        features           gradient  L_s
network.encoder  unlabeled/changed  gradient  turned images
network.decoder  features           gradient  the consistency, and pseudo labels of the contrast
auxiliary        features           gradient  the consistency, and pseudo labels of the contrast
classifier       both/changed       gradient  the rotation
"""
SSNET = """
network.encoder            labeled/student1    gradient  L_s and the features of labelled images
network.segmentation_head  labeled/changed     gradient  L_s, the target
network.encoder            unlabeled/student1  gradient  the features of unlabelled images
network.segmentation_head  unlabeled/changed   gradient  pseudo labels, the target
network.encoder            labeled/changed     gradient  the direction of the noise
network.segmentation_head  labeled/changed     gradient  the direction of the noise
network.encoder            labeled/changed     gradient  smoothness
network.segmentation_head  labeled/changed     gradient  smoothness
network.encoder            unlabeled/changed   gradient  the direction of the noise
network.segmentation_head  unlabeled/changed   gradient  the direction of the noise
network.encoder            unlabeled/changed   gradient  smoothness
network.segmentation_head  unlabeled/changed   gradient  smoothness
"""
MT_CUTMIX = """
student   labeled/student1    gradient  L_s
student   unlabeled/changed   gradient  L_mts, y_1
teacher   unlabeled/teacher   constant  L_mts, y_0, mixed afterwards
"""
CPS_CUTMIX = """
student1  labeled/student1    gradient  L_s
student2  labeled/student2    gradient  L_s
student1  unlabeled/student1  constant  student 2's labels, mixed afterwards
student2  unlabeled/student2  constant  student 1's labels, mixed afterwards
student1  unlabeled/changed   gradient  L_cps, y_1
student2  unlabeled/changed   gradient  L_cps, y_2
"""
ABD = (
    STUDENTS
    + """
student1  labeled/changed    gradient  both views, displaced, L_s
student2  labeled/changed    gradient  both views, displaced, L_s
student1  unlabeled/changed  gradient  both views, displaced, L_cps
student2  unlabeled/changed  gradient  both views, displaced, L_cps
"""
)
UAMT = STUDENT + "teacher unlabeled/changed constant the target, or one of 8 passes\n" * 9
DTC = """
network.encoder  labeled/student1    gradient  L_seg and L_sdf
network.decoder  features            gradient  L_seg and L_sdf
distance_head    labeled/changed     gradient  L_sdf and L_DTC
network.encoder  unlabeled/student1  gradient  L_DTC
network.decoder  features            gradient  L_DTC
distance_head    unlabeled/changed   gradient  L_DTC
"""
SASSNET = """
network.encoder       labeled/student1      gradient  L_seg and L_sdf
network.decoder       features              gradient  L_seg and L_sdf
distance_head         labeled/changed       gradient  L_sdf
network.encoder       unlabeled/as_labeled  gradient  L_adv
network.decoder       features              gradient  L_adv
distance_head         unlabeled/changed     gradient  L_adv
discriminator:eval    unlabeled/changed     gradient  L_adv
network.encoder:eval  labeled/student1      constant  the discriminator's loss
network.decoder:eval  features              constant  the discriminator's loss
distance_head         labeled/changed       constant  the discriminator's loss
network.encoder:eval  unlabeled/as_labeled  constant  the discriminator's loss
network.decoder:eval  features              constant  the discriminator's loss
distance_head         unlabeled/changed     constant  the discriminator's loss
discriminator         labeled/changed       gradient  the discriminator's loss
discriminator         unlabeled/changed     gradient  the discriminator's loss
"""
NETWORK = """
network  labeled/student1    gradient  L_s
network  unlabeled/student1  gradient  the unsupervised loss
"""
DAN = """
network         labeled/student1      gradient  L_s
network         unlabeled/as_labeled  gradient  L_adv
evaluator:eval  unlabeled/changed     gradient  L_adv
network:eval    labeled/student1      constant  the evaluator's loss
network:eval    unlabeled/as_labeled  constant  the evaluator's loss
evaluator       labeled/changed       gradient  the evaluator's loss
evaluator       unlabeled/changed     gradient  the evaluator's loss
"""
ADVSEMSEG = """
network        labeled/student1    gradient  L_s and L_adv
network        unlabeled/student1  gradient  L_adv and L_semi
discriminator  labeled/changed     gradient  L_adv
discriminator  unlabeled/changed   gradient  L_adv and the trusted pixels
discriminator  both/changed        gradient  its own loss, false maps
discriminator  labeled/changed     gradient  its own loss, true maps
"""
COLADV = """
network.encoder          labeled/student1      gradient  L_s and L_adv
network.decoder          features              gradient  L_s and L_adv
network.encoder          unlabeled/as_labeled  gradient  L_con, L_aux and L_semi
network.decoder          features              gradient  L_con, L_aux and L_semi
discriminator            labeled/changed       gradient  L_adv
discriminator            unlabeled/changed     constant  the trusted pixels
auxiliary_discriminator  unlabeled/changed     gradient  L_aux
discriminator            labeled/changed       gradient  its own loss, true maps
discriminator            labeled/changed       gradient  its own loss, false maps
auxiliary_discriminator  labeled/changed       gradient  its own loss, predictions of labelled images
auxiliary_discriminator  unlabeled/changed     gradient  its own loss, predictions of unlabelled images
"""
# The teacher's own passes go through its encoder too.
DUWM = (
    STUDENT
    + """
teacher  labeled/changed    constant  the target
teacher  unlabeled/changed  constant  the target
"""
    + """
teacher.network.encoder  labeled/changed    constant  the target, or one of 8 passes
teacher.network.encoder  unlabeled/changed  constant  the target, or one of 8 passes
"""
    * 9
)
DCT = """
student1:eval  labeled/changed    gradient  the attack g_1(x)
student2:eval  labeled/changed    gradient  the attack g_2(x)
student1:eval  unlabeled/changed  gradient  the attack g_1(u)
student2:eval  unlabeled/changed  gradient  the attack g_2(u)
student1       labeled/changed    gradient  p_1(g_2(x))
student2       labeled/changed    gradient  p_2(g_1(x))
student1       unlabeled/changed  gradient  p_1(g_2(u))
student2       unlabeled/changed  gradient  p_2(g_1(u))
"""
FIXMATCH = """
network   labeled/student1    gradient  L_s
network   unlabeled/teacher   constant  pseudo labels
network   unlabeled/changed   gradient  L_strong
"""
UNIMATCH = """
network.encoder  labeled/student1   gradient  L_s
network.decoder  features           gradient  L_s
network.encoder  unlabeled/teacher  gradient  the weak view's features
network.decoder  features           constant  pseudo labels
network.decoder  features           gradient  L_features, perturbed
network.encoder  unlabeled/changed  gradient  both strong views
network.decoder  features           gradient  L_strong1 and L_strong2
"""
CROSSMATCH = (
    UNIMATCH
    + """
network.decoder  features           gradient  the weak view, strongly perturbed; above, weakly
network.decoder  features           gradient  strong view 2, weakly perturbed
network.decoder  features           gradient  strong view 2, strongly perturbed
"""
)
UNIMATCH_V2 = """
student.encoder  labeled/student1   gradient  L_s
student.decoder  features           gradient  L_s
teacher          unlabeled/teacher  constant  pseudo labels
student.encoder  unlabeled/changed  gradient  both strong views
student.decoder  features           gradient  L_strong1 and L_strong2, with complementary dropout
"""
ADMT = (
    STUDENT
    + """
teacher1  unlabeled/teacher   constant  pseudo labels
teacher2  unlabeled/teacher   constant  pseudo labels
student   unlabeled/teacher   constant  where the teachers disagree
"""
)
BCP = """
student   labeled/changed     gradient  the mix with labelled pixels around the box
student   labeled/changed     gradient  the mix with labelled pixels in the box; as many as there are labelled images
teacher   unlabeled/teacher   constant  pseudo labels
"""
ALWAYS = {
    "supervised": "network labeled/student1 gradient L_s",
    "mt": STUDENT + TEACHER,
    "mt-cutmix": MT_CUTMIX,
    "uamt": UAMT,
    "cct": CCT,
    "mcnet": MCNET,
    "mcnet+": MCNET + MCNET_PLUS,
    "urpc": URPC,
    "ssnet": SSNET,
    "ugcl": UGCL,
    "cps": STUDENTS,
    "cps-cutmix": CPS_CUTMIX,
    "ctct": STUDENTS,
    "abd": ABD,
    "cmtv1": STUDENTS + TEACHER,
    "cmtv2": STUDENTS,
    "cmtv3": STUDENTS + TEACHER,
    "ucmt": STUDENTS + TEACHER + STUDENTS_ON_MIX,
    "ucmt-cutmix": STUDENTS + TEACHER + STUDENTS_ON_MIX,
    "dtc": DTC,
    "sassnet": SASSNET,
    "dan": DAN,
    "advsemseg": ADVSEMSEG,
    "coladv": COLADV,
    "lg-er-mt": STUDENT + "teacher unlabeled/changed constant the target",
    "duwm": DUWM,
    "entmin": NETWORK,
    "ict": MT_CUTMIX,
    "acmt": STUDENT + "teacher unlabeled/changed constant the target",
    "rotation": NETWORK + "network unlabeled/changed gradient p(R u)",
    "pseudo-label": NETWORK,
    "dct": STUDENTS + DCT,
    "augseg": MT_CUTMIX,
    "fixmatch": FIXMATCH,
    "unimatch": UNIMATCH,
    "unimatch-v2": UNIMATCH_V2,
    "crossmatch": CROSSMATCH,
    "bcp": BCP,
    "admt": ADMT,
}
PARTS = {  # of the methods whose lines are of parts of their networks
    "cct": ["network.encoder", "network.decoder", *(f"auxiliary.{number}" for number in range(7))],
    "mcnet": ["network.encoder", "network.decoder", "auxiliary.0"],
    "mcnet+": ["network.encoder", "network.decoder", "auxiliary.0", "auxiliary.1"],
    "urpc": ["network.encoder", "network.segmentation_head", "heads.0"],
    "ssnet": ["network.encoder", "network.segmentation_head"],
    "ugcl": ["network.encoder", "network.decoder", "auxiliary", "classifier"],
    "coladv": ["network.encoder", "network.decoder"],
    "duwm": ["student", "teacher", "teacher.network.encoder"],
    "dtc": ["network.encoder", "network.decoder", "distance_head"],
    "sassnet": ["network.encoder", "network.decoder", "distance_head"],
    "unimatch": ["network.encoder", "network.decoder"],
    "unimatch-v2": ["student.encoder", "student.decoder", "teacher"],
    "crossmatch": ["network.encoder", "network.decoder"],
}
BY_PROTOCOL = {
    # No loss reads this pass. It moves the batch norm statistics of a teacher in training mode, so it stays.
    ("cmtv2", "released-code"): "teacher unlabeled/teacher constant its statistics",
    ("ucmt", "paper"): UNCERTAINTY + TEACHER_ON_MIX,
    ("ucmt", "released-code"): "teacher labeled/teacher constant U_1 and U_2 of step 1",
    ("ucmt-cutmix", "paper"): TEACHER_ON_MIX,
}


def view_of(views: Views, part: str, role: str) -> str:
    """The view of a part that the protocol gives to a role; an adversary's images are seen as labelled ones are."""
    if role == "as_labeled":
        return views.labeled_student1
    view: str = getattr(views, f"labeled_{role}" if part == "labeled" else role)
    return view


def needed(name: str, protocol: str, lab: Laboratory) -> list[Forward]:
    """The lines that hold for a method under a protocol."""
    views, forwards = lab.protocol.views, []
    for line in f"{ALWAYS[name]}\n{BY_PROTOCOL.get((name, protocol), '')}".splitlines():
        if line.strip():
            network, images, gradient, *_ = line.split()
            part, _, role = images.partition("/")
            if role not in ("", "changed"):
                images = f"{part}/{view_of(views, part, role)}"
            network, _, mode = network.partition(":")
            mode = mode or (lab.protocol.teacher_mode if network.startswith("teacher") else "train")
            forwards.append((network, images, mode, gradient))
    return forwards


def watch(name: str, lab: Laboratory) -> list[Forward]:
    """A list to which every forward pass is added from now on; of a method in PARTS, every pass of these."""
    found: list[Forward] = []
    parts = {label: lab.method.get_submodule(label) for label in PARTS.get(name, [])}
    networks: dict[str, Any] = {**(parts or lab.method.networks), **lab.method.adversaries}
    for label, network in networks.items():

        def note(module: nn.Module, inputs: tuple[Any], output: Any, label: str = label) -> None:
            result = output if isinstance(output, Tensor) else output[0]
            mode, gradient = "train" if module.training else "eval", "gradient" if result.requires_grad else "constant"
            found.append((label, images_shown(lab, inputs[0]), mode, gradient))

        network.register_forward_hook(note)
    return found


def images_shown(lab: Laboratory, images: Any) -> str:
    """`labeled/weak` and the like; `labeled/changed` for images that are not a view."""
    if not isinstance(images, Tensor):
        return "features"
    if len(images) == LABELED + UNLABELED:
        return "both/changed"
    part, views = ("labeled", lab.labeled) if len(images) % LABELED == 0 else ("unlabeled", lab.unlabeled)
    return f"{part}/{next((name for name, view in views.items() if view is images), 'changed')}"


@pytest.mark.parametrize(("name", "protocol", "dimensions"), CASES)
def test_an_iteration_has_the_forward_passes_that_the_equations_need(name: str, protocol: str, dimensions: int) -> None:
    lab = laboratory(name, protocol_of(protocol, dimensions))
    found = watch(name, lab)
    list(lab.updates())
    assert Counter(found) == Counter(needed(name, protocol, lab))


def outcome(lab: Laboratory) -> list[Tensor]:
    """The losses of two iterations, and the weights, buffers and random numbers after them."""
    losses = []
    for step in range(2):
        torch.manual_seed(step)
        losses += [update.total.detach() for update in lab.updates()]
    return [*losses, *lab.method.state_dict().values(), torch.rand(1)]


def with_more_passes(lab: Laboratory) -> Laboratory:
    """The method with passes of its teacher over every view before each step."""
    updates = lab.method.updates

    def more(*arguments: Any) -> Any:
        for update in updates(*arguments):
            for images in (*lab.labeled.values(), *lab.unlabeled.values()):
                lab.method.teacher(images)
            yield update

    lab.method.updates = more
    return lab


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", WITH_TEACHER)
def test_passes_of_a_teacher_in_evaluation_mode_can_be_left_out_and_others_cannot(name: str, dimensions: int) -> None:
    for protocol, is_free in (("paper", True), ("released-code", False)):
        given = protocol_of(protocol, dimensions)
        lean, full = outcome(laboratory(name, given)), outcome(with_more_passes(laboratory(name, given)))
        assert all(map(torch.equal, lean, full)) is is_free


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", ["cmtv2", "ucmt"])
def test_a_teacher_that_learns_from_its_passes_has_all_of_them(name: str, mode: str) -> None:
    """A teacher in training mode with averaged buffers still has statistics of its own passes."""
    settings = {"teacher_mode": mode, "teacher_buffers": "ema", "uncertainty_from": "after-update"}
    lab = laboratory(name, protocol_of("paper", **settings))
    passes: list[bool] = []
    for module in lab.method.modules():
        if isinstance(module, ExponentialMovingAverage):
            module.register_forward_hook(lambda *_: passes.append(True))
    list(lab.updates())
    assert len(passes) == {"cmtv2": (0, 1), "ucmt": (4, 5)}[name][mode == "train"]
