"""What the papers, Table 4 and the written protocols say of each method; not what the classes say of themselves.

A method that differs from what the registry-wide tests expect has its exceptions here, each with the reason in `why`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Facts:
    """What the papers say of a method, and how it differs from the others.

    Attributes:
        components: Table 4's check marks.
        terms: names of the loss terms of an update that trains the networks.
        students: networks that the optimiser moves, by attribute.
        scored: the network that gives the headline.
        branches: the networks whose disagreement Figure 1 plots; None where there is but one.
        teachers: networks that follow students.
        updates: of the networks in an iteration.
        dimensions: of its images.
        adversaries: networks with an optimiser of their own.
        plain: its networks see the views themselves in the first update, neither mixed nor noisy.
        reached: by term, the parts of networks that the term reaches, if these are not all parts of every student.
        labels_decide: terms other than `supervised` that the labels decide.
        asks: views that an iteration asks for where each network is given a view of its own: `labeled strong2`,
            `unlabeled weak` for the (first) student, `labeled weak`, `unlabeled strong1` for the second, `unlabeled
            strong2` for the teacher. None: those of its students and its teacher.
        alike: its students have one architecture.
        usual_teacher: the teacher is the protocol's and moves once an update.
        why: the reason for every exception.

    """

    components: set[str]
    terms: set[str]
    students: tuple[str, ...]
    scored: str
    branches: tuple[str, str] | None
    teachers: tuple[str, ...] = ()
    updates: int = 1
    dimensions: tuple[int, ...] = (2, 3)
    adversaries: tuple[str, ...] = ()
    plain: bool = False
    reached: dict[str, set[str]] = field(default_factory=dict)
    labels_decide: frozenset[str] = frozenset()
    asks: frozenset[str] | None = None
    alike: bool = True
    usual_teacher: bool = True
    why: str = ""


PAIR = ("student1", "student2")
TAUGHT = ("student", "teacher")
TEACHER = ("teacher",)
AUXILIARY = {f"auxiliary.{number}" for number in range(7)}  # CCT's decoders, one of each kind
NETWORK = {"network.encoder", "network.decoder", "network.segmentation_head"}
WITH_DISTANCES = NETWORK | {"distance_head.weight"}
# As `asks` names them: the labelled images, student 1's, the teacher's and student 2's view.
WEAK_AND_STRONG = ("labeled strong2", "unlabeled weak", "unlabeled strong2", "unlabeled strong1")
AS_LABELED = frozenset({"labeled strong2", "unlabeled strong2"})

FACTS = {
    "supervised": Facts(set(), {"supervised"}, ("network",), "network", None, plain=True),
    "mt": Facts({"TS", "L_mts"}, {"supervised", "mts"}, ("student",), "teacher", TAUGHT, TEACHER, plain=True),
    "mt-cutmix": Facts({"TS", "L_mts"}, {"supervised", "mts"}, ("student",), "teacher", TAUGHT, TEACHER),
    "uamt": Facts({"TS"}, {"supervised", "consistency"}, ("student",), "student", TAUGHT, TEACHER),
    "cct": Facts(
        set(), {"supervised", "consistency"}, ("network",), "network", None,
        reached={"consistency": {"network.encoder"} | AUXILIARY},
        why="the main decoder's prediction is the target, a constant",
    ),
    "cps": Facts({"SS", "L_cps"}, {"supervised", "cps"}, PAIR, "student1", PAIR, plain=True),
    "cps-cutmix": Facts({"SS", "L_cps"}, {"supervised", "cps"}, PAIR, "student1", PAIR),
    "ctct": Facts(
        {"SS", "L_cps"}, {"supervised", "cps"}, PAIR, "student1", PAIR, dimensions=(2,), plain=True, alike=False,
        why="student 2 is a transformer, and those that the package has need no other package in 2D alone",
    ),
    "abd": Facts({"SS", "L_cps"}, {"supervised", "cps", "displaced"}, PAIR, "student1", PAIR),
    "cmtv1": Facts({"STS", "L_mts"}, {"supervised", "mts"}, PAIR, "teacher", PAIR, TEACHER, plain=True),
    "cmtv2": Facts({"STS", "L_cps"}, {"supervised", "cps"}, PAIR, "teacher", PAIR, TEACHER, plain=True),
    "cmtv3": Facts({"STS", "L_cps", "L_mts"}, {"supervised", "cps", "mts"}, PAIR, "teacher", PAIR, TEACHER, plain=True),
    "ucmt": Facts(
        {"STS", "L_cps", "L_mts", "U"}, {"supervised", "cps", "mts"}, PAIR, "teacher", PAIR, TEACHER, updates=2,
        plain=True,
    ),
    "ucmt-cutmix": Facts(
        {"STS", "L_cps", "L_mts"}, {"supervised", "cps", "mts"}, PAIR, "teacher", PAIR, TEACHER, updates=2, plain=True
    ),
    "dtc": Facts(
        set(), {"supervised", "consistency"}, ("network",), "network", None,
        reached={"supervised": WITH_DISTANCES, "consistency": WITH_DISTANCES},
        why="a second head regresses distances; its error is a part of the supervised loss",
    ),
    "sassnet": Facts(
        set(), {"supervised", "adversarial"}, ("network",), "network", None, adversaries=("discriminator",),
        asks=AS_LABELED,
        reached={
            "supervised": WITH_DISTANCES,
            "adversarial": WITH_DISTANCES - {"network.segmentation_head"},
        },
        why="a second head regresses distances; the discriminator reads them and no segmentation; unlabelled images "
        "are shown as labelled ones, so that views tell nothing",
    ),
    "dan": Facts(
        set(), {"supervised", "adversarial"}, ("network",), "network", None, adversaries=("evaluator",),
        asks=AS_LABELED,
        why="unlabelled images are shown as labelled ones, so that views tell nothing",
    ),
    "advsemseg": Facts(
        set(), {"supervised", "adversarial", "semi"}, ("network",), "network", None, adversaries=("discriminator",)
    ),
    "coladv": Facts(
        set(), {"supervised", "consistency", "adversarial", "auxiliary", "semi"}, ("network",), "network", None,
        adversaries=("discriminator", "auxiliary_discriminator"), asks=AS_LABELED,
        why="unlabelled images are shown as labelled ones, so that views tell nothing",
    ),
    "lg-er-mt": Facts({"TS"}, {"supervised", "entropy", "local", "global"}, ("student",), "student", TAUGHT, TEACHER),
    "duwm": Facts(
        {"TS"}, {"supervised", "consistency", "uncertainty"}, ("student",), "student", TAUGHT, TEACHER,
        asks=frozenset({"labeled strong2", "labeled strong1", "unlabeled weak", "unlabeled strong2"}),
        why="the teacher sees labelled images too",
    ),
    "entmin": Facts(set(), {"supervised", "entropy"}, ("network",), "network", None, plain=True),
    "ict": Facts(
        {"TS"}, {"supervised", "consistency"}, ("student",), "student", None, TEACHER,
        why="Figure 1 compares the student with logits of the mixed softmaxes, which no pass gives (test_ict.py)",
    ),
    "acmt": Facts({"TS"}, {"supervised", "consistency"}, ("student",), "student", TAUGHT, TEACHER),
    "rotation": Facts(set(), {"supervised", "consistency"}, ("network",), "network", None),
    "pseudo-label": Facts(set(), {"supervised", "pseudo"}, ("network",), "network", None, plain=True),
    "dct": Facts(
        {"SS"}, {"supervised", "cot", "dif"}, PAIR, "student1", PAIR,
        labels_decide=frozenset({"dif"}),
        why="adversarial examples of labelled images attack their labels, as in the authors' method",
    ),
    "augseg": Facts(
        {"TS"}, {"supervised", "consistency"}, ("student",), "teacher", None, TEACHER,
        why="of pixels pasted from labelled images the teacher has no logits, so Figure 1 compares the student with "
        "itself there (test_augseg.py)",
    ),
    "fixmatch": Facts(
        set(), {"supervised", "strong"}, ("network",), "network", None, asks=frozenset(WEAK_AND_STRONG[:3]),
        why="the only network labels the teacher's view and learns on student 1's",
    ),
    "unimatch": Facts(
        set(), {"supervised", "strong", "features"}, ("network",), "network", None, asks=frozenset(WEAK_AND_STRONG),
        why="the only network labels the teacher's view and learns on both students'",
    ),
    "unimatch-v2": Facts(
        {"TS"}, {"supervised", "strong"}, ("student",), "teacher", None, TEACHER, asks=frozenset(WEAK_AND_STRONG),
        why="the student learns on both students' views; they go through its parts together, as one batch",
    ),
    "crossmatch": Facts(
        set(), {"supervised", "strong", "distillation"}, ("network",), "network", None,
        asks=frozenset(WEAK_AND_STRONG), why="as UniMatch",
    ),
    "bcp": Facts(
        {"TS"}, {"supervised", "mixed"}, ("student",), "student", None, TEACHER, usual_teacher=False,
        why="the teacher begins after a first phase; the student's branch is put together from passes over two mixes",
    ),
    "admt": Facts(
        {"TS"}, {"supervised", "pseudo"}, ("student",), "student", ("teacher1", "teacher2"), ("teacher1", "teacher2"),
        why="Figure 1 compares the teachers, whose disagreement the method is about",
    ),
    "mcnet": Facts(
        set(), {"supervised", "consistency"}, ("network",), "network", None,
        reached=dict.fromkeys(["supervised", "consistency"], NETWORK | {"auxiliary.0"}),
        why="the second decoder learns from labels too, and is no network of its own",
    ),
    "mcnet+": Facts(
        set(), {"supervised", "consistency"}, ("network",), "network", None,
        reached=dict.fromkeys(["supervised", "consistency"], NETWORK | {"auxiliary.0", "auxiliary.1"}),
        why="the second and the third decoder learn from labels too, and are no networks of their own",
    ),
    "urpc": Facts(
        set(), {"supervised", "consistency"}, ("network",), "network", None,
        reached=dict.fromkeys(["supervised", "consistency"], NETWORK | {"heads.0"}),
        why="the heads of coarser maps learn from labels too, and are no networks of their own",
    ),
    "ssnet": Facts(
        set(), {"supervised", "smoothness", "separation"}, ("network",), "network", None,
        reached={
            "separation": {
                "network.encoder", "network.decoder", "separation.projection", "separation.prediction",
                "separation.selectors",
            }
        },
        labels_decide=frozenset({"separation"}),
        why="features of labelled pixels are drawn to their labels' memory, before the head",
    ),
    "ugcl": Facts(
        set(), {"supervised", "consistency", "rotation", "contrast"}, ("network",), "network", None,
        reached={
            "supervised": NETWORK | {"auxiliary.decoder", "auxiliary.segmentation_head"},
            "consistency": NETWORK | {"auxiliary.decoder", "auxiliary.segmentation_head"},
            "rotation": {"network.encoder", "classifier.weight", "classifier.bias"},
            "contrast": {"network.encoder", "embedding.first", "embedding.norm", "embedding.last"},
        },
        labels_decide=frozenset({"contrast"}),
        why="a second decoder learns from labels too; two losses are of the encoder's maps, and labelled pixels are "
        "anchors",
    ),
}  # fmt: skip
WITH_TEACHER = [name for name, facts in FACTS.items() if facts.teachers == TEACHER]
WITH_TWO_STUDENTS = [name for name, facts in FACTS.items() if facts.students == PAIR and facts.alike]
