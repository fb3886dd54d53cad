"""``qmgen evaluate``, ``qmgen quantize``, ``qmgen sample``: what is done with a trained network."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen import files
from qmgen.cli.console import print_json, say
from qmgen.cli.options import AsJson, Quiet
from qmgen.errors import UsageError
from qmgen.quantities import duration, size
from qmgen.signals import exit_on_sigterm

if TYPE_CHECKING:
    from qmgen.config import EvaluateConfig, QuantizeConfig, SampleConfig


def evaluate(settings: EvaluateConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Predict with a trained network: its errors on a corpus, or values for given molecules.

    Geometries in files are used as they are; a SMILES gets a geometry by embedding. A language model is compared in 16
    bit and in FP8, on the molecules held out in its training or on those of --molecules.
    """
    if as_json and settings.out == "-":
        raise UsageError("--json and --out - both write to standard output: give --out a file")

    from qmgen.learning.kinds import network_kind

    kind = network_kind(settings.run)
    kind.check(settings)

    from qmgen.report import energy, parity

    if settings.figure is not None:
        parity.refuse_figure_path(settings.figure)
    evaluation = kind.evaluate(settings, quiet)
    if as_json:
        print_json(evaluation.plain)
    elif evaluation.text:
        say(evaluation.text)
    for note in evaluation.notes:
        say(note)
    if settings.figure is not None:
        draw = energy.draw_evaluation if kind.network == "hamiltonian" else parity.draw_predictions
        say(f"figure in {draw(evaluation.report, settings.figure)}")
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


@contextmanager
def _written_whole(path: Path) -> Iterator[Callable[[str], None]]:
    """What writes a line of ``path``, which is there when all are written, or not at all. Raises ``UsageError``."""
    if not path.name or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is no file: give another --out, or - for standard output")

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error

    def write(line: str) -> None:
        with told():
            stream.write(f"{line}\n".encode())

    with ExitStack() as stack:
        with told():
            stream = stack.enter_context(files.replacing(path.parent, path.name, make=False))
        with exit_on_sigterm():
            yield write
        with told():
            stack.close()


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
