"""``qmgen evaluate``, ``qmgen quantize``, ``qmgen sample``: what is done with a trained network."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen.cli.console import print_json, say
from qmgen.cli.options import AsJson, Quiet
from qmgen.errors import UsageError
from qmgen.quantities import duration, size

if TYPE_CHECKING:
    from qmgen.config import EvaluateConfig, QuantizeConfig, SampleConfig


def evaluate(settings: EvaluateConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Predict with a trained network: its errors on a corpus, or values for given molecules.

    Geometries in files are used as they are; a SMILES gets a geometry by embedding. A language model is compared in 16
    bit and in FP8, on the molecules held out in its training or on those of --molecules.
    """
    if as_json and settings.out == "-":
        raise UsageError("--json and --out - both write to standard output: give --out a file")

    from qmgen.learning.evaluate.kind import kind_of

    kind = kind_of(settings.run)
    if kind == "lm":
        return _language_model(settings, as_json, quiet)
    settings.of_molecules()
    if kind == "hamiltonian":
        return _hamiltonian(settings, as_json, quiet)

    from qmgen.learning.evaluate import run as work
    from qmgen.report import prediction

    if settings.figure is not None:
        if settings.molecules:
            raise UsageError("--figure needs labels to compare with: give --data DIR instead of --molecules")
        prediction.check(settings.figure)
    predictor, report = work.run(settings, quiet)
    if isinstance(report, work.FileReport):
        if as_json:
            print_json(prediction.files_dict(report))
        elif settings.out is None:
            say(prediction.rows_table(report, predictor.targets))
        for line in prediction.refusals(report):
            say(line)
        if settings.out is not None and settings.out.endswith(".xyz") and (missing := sum(report.reasons.values())):
            say(f"{missing} entries have no prediction, and no frame in {settings.out}: a .csv has a row for each")
        return 0
    if as_json:
        print_json(prediction.corpus_dict(report))
    else:
        say(prediction.errors_table(report))
    for note in report.notes:
        say(note)
    if settings.figure is not None:
        say(f"figure in {prediction.draw(report, predictor.targets, settings.figure)}")
    return 0


def quantize(settings: QuantizeConfig, as_json: AsJson = False) -> int:
    """Convert the weights of a trained language model to FP8.

    Activations are scaled when the model is used.
    """
    from qmgen.learning.fp8 import NOTE
    from qmgen.learning.lm.stored import quantize_run as work

    done = work(settings)
    if as_json:
        print_json(done)
    else:
        say(f"{done['out']}: {size(done['bytes'])}, of {size(done['bytes_before'])}")
        if done["emulated"]:
            say(f"qmgen: {NOTE}")
        place = shlex.quote(done["out"])
        say(f"\ntry next\n  qmgen evaluate {place} --molecules FILE.smi\n  qmgen sample {place} -n 1000 --out new.smi")
    return 0


def sample(settings: SampleConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Draw molecules from a trained language model, as input for `qmgen generate --molecules -`.

    Each valid molecule is written once, as canonical SMILES. The fractions of valid, unique and new molecules are
    reported.
    """
    to_stdout = settings.out == "-"
    if as_json and to_stdout:
        raise UsageError("--json and the molecules cannot both go to standard output: give --out FILE")

    from qmgen.learning.lm import sampling

    tell: Any = (lambda done, total: None) if quiet else _sampling_teller()
    if to_stdout:
        tally = sampling.sample_run(settings, print, tell)
    else:
        with _written_whole(Path(settings.out)) as write:
            tally = sampling.sample_run(settings, write, tell)
    counts = tally.to_dict()
    if as_json:
        print_json(counts)
    elif not quiet:
        say(_sampled_text(counts))
        if not to_stdout:
            say(f"qmgen: written to {settings.out}")
    return 0


def _language_model(settings: EvaluateConfig, as_json: bool, quiet: bool) -> int:
    """A network of ``qmgen train lm`` or ``quantize``: FP8 against 16 bit."""
    for name in ("data", "out", "figure", "other_level"):
        if getattr(settings, name):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for networks that predict; a language model takes --molecules FILE.smi")

    from qmgen.learning.lm.evaluate import evaluate as work
    from qmgen.learning.lm.evaluate import text

    report = work(settings, (lambda line: None) if quiet else (lambda line: say(f"qmgen: {line}")))
    if as_json:
        print_json(report)
    else:
        say(text(report))
    return 0


def _hamiltonian(settings: EvaluateConfig, as_json: bool, quiet: bool) -> int:
    """A network of ``qmgen train energy`` or ``labels``: against converged fields."""
    from contextlib import nullcontext

    from qmgen.learning.energy.evaluate import TARGETS, evaluate_hamiltonian, text
    from qmgen.learning.evaluate.files import Writer
    from qmgen.learning.evaluate.run import teller
    from qmgen.report import energy, prediction

    if settings.figure is not None:
        prediction.check(settings.figure)
    with Writer(settings.out, TARGETS, {"model": str(settings.run)}) if settings.out else nullcontext() as writer:
        report = evaluate_hamiltonian(settings, writer.write if writer else None, None if quiet else teller())
    if as_json:
        print_json(report.to_dict())
    else:
        say(text(report))
    if settings.figure is not None:
        say(f"figure in {energy.draw_evaluation(report, settings.figure)}")
    return 0


@contextmanager
def _written_whole(path: Path) -> Iterator[Callable[[str], None]]:
    """What writes a line of ``path``, which is there when all are written, or not at all. Raises ``UsageError``."""
    if not path.name or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is no file: give another --out, or - for standard output")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error

    def write(line: str) -> None:
        with told():
            print(line, file=stream)

    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what follows is done
    try:
        with told():
            temporary.unlink(missing_ok=True)
            stream = temporary.open("x", encoding="utf-8")
        yield write
        with told():
            stream.close()
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, before)


def _sampled_text(counts: dict[str, Any]) -> str:
    novel = "" if counts["novel_fraction"] is None else f", {100 * counts['novel_fraction']:.2f} % of these new"
    lines = [
        f"qmgen: {counts['drawn']} drawn in {counts['seconds']:.1f} s: {100 * counts['valid_fraction']:.2f} % valid, "
        f"{100 * counts['unique_fraction']:.2f} % of these unique{novel}; {counts['kept']} kept"
    ]
    if counts["emulated"]:
        from qmgen.learning.fp8 import NOTE

        lines.append(f"qmgen: {NOTE}")
    if counts["removed"]:
        removed = sorted(counts["removed"].items(), key=lambda item: -item[1])
        lines.append(f"qmgen: removed by rule: {', '.join(f'{name} {number}' for name, number in removed)}")
    return "\n".join(lines)


def _sampling_teller() -> Any:
    begin = time.monotonic()

    def tell(done: int, total: int) -> None:
        rate = done / (time.monotonic() - begin)
        print(f"qmgen: {done} of {total} drawn, {rate:.0f}/s, {duration((total - done) / rate)} left", file=sys.stderr)

    return tell
