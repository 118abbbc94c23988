"""Sessions: `nox -s NAME`; without a name `lint`, `types` and `tests`. CONTRIBUTING.md says what each is for."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
CONSTRAINTS = ("-c", "constraints.txt")
FLOOR = 90  # per cent of the lines


@nox.session
def tests(session: nox.Session) -> None:
    """The suite without the tests marked `slow`, one process per core."""
    session.install("-q", *CONSTRAINTS, "-e", ".[test]")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The suite with the share of lines that it runs, which must not fall below a floor."""
    session.install("-q", *CONSTRAINTS, "-e", ".[test]", "pytest-cov")
    words = ["--cov=ssl_bench", "--cov=methods", "--cov-report=term:skip-covered", f"--cov-fail-under={FLOOR}"]
    session.run("pytest", "-n", "auto", *words, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install("-q", *CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types."""
    session.install("-q", *CONSTRAINTS, "-e", ".[dev]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in site/; a warning or a dead link is an error. Building it needs no network."""
    session.install("-q", *CONSTRAINTS, "-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def examples(session: nox.Session) -> None:
    """The notebooks are executed, and the template of a method's repository is installed and tested."""
    session.install("-q", *CONSTRAINTS, "-e", ".[test]")
    session.run("pytest", "-q", "-m", "", "tests/test_notebooks.py", *session.posargs)
    session.install("-q", *CONSTRAINTS, "examples/own-method")  # its method has the name of a notebook's, so not before
    session.run("pytest", "-q", "-m", "", "examples/own-method/tests", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The README's first command, from a built wheel in a folder of its own."""
    session.install("-q", *CONSTRAINTS, ".")
    session.chdir(session.create_tmp())
    session.run("ssl-bench", "run", "--methods", "supervised,mt,cps,ucmt", "--dataset", "demo", "--jobs", "2")
    session.run("ssl-bench", "report", "--table", "4", "--dataset", "demo")


@nox.session
def speed(session: nox.Session) -> None:
    """What the harness adds to the networks' own cost, as ratios taken side by side."""
    session.install("-q", *CONSTRAINTS, ".")
    session.run("python", "tools/speed", *session.posargs)


@nox.session
def costs(session: nox.Session) -> None:
    """Predicted against measured memory of an iteration, of every method at `tiny` and `mini`, in 2D and 3D."""
    session.install("-q", *CONSTRAINTS, ".")
    session.run("python", "tools/costs.py", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """How long `status` and `report` take over a store of 10,000 runs."""
    session.install("-q", *CONSTRAINTS, ".")
    session.run("python", "tools/scale.py", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, full disks, damaged files, wrong clocks: many of each; as root the full disk too."""
    session.install("-q", *CONSTRAINTS, "-e", ".[test]")
    session.run("python", "tests/faults.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Single-line faults, one per module that matters: the tests must kill all of them."""
    session.install("-q", *CONSTRAINTS, "-e", ".[test]")
    session.run("python", "tools/mutants.py", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests marked `slow`: every method in every form, random kills, simulations, whole campaigns."""
    session.install("-q", *CONSTRAINTS, "-e", ".[test]")
    session.run("pytest", "-n", "auto", "-m", "slow", *session.posargs)


@nox.session
def slurm(session: nox.Session) -> None:
    """A grid on a real Slurm of one node, disturbed on purpose; wants root and Debian's slurm-wlm and munge."""
    session.install("-q", *CONSTRAINTS, ".[slurm]")
    session.run("python", "tools/slurm_proof.py")


@nox.session
def postgres(session: nox.Session) -> None:
    """A sweep of two workers over a real PostgreSQL, one of them killed; wants root and Debian's postgresql."""
    session.install("-q", *CONSTRAINTS, ".[postgres]")
    session.run("python", "tools/postgres_proof.py", "--protocol", "tiny", "--iterations", "60")
