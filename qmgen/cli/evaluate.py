"""``qmgen evaluate``: a trained network on labelled rows or on molecules of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qmgen.cli.talk import print_json, say


def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="What qmgen train wrote, or a model.safetensors.", show_default=False)
    ],
    data: Annotated[str | None, typer.Option(help="Corpus to compare with, or s3://bucket/prefix.", metavar="DIR")] = (
        None
    ),
    split: Annotated[
        str | None,
        typer.Option(
            help="test, validation, train or all; test unless given, validation where it is empty, and of "
            "language models"
        ),
    ] = None,
    molecules: Annotated[
        list[str] | None,
        typer.Option(help="File to predict: .sdf .xyz .smi .csv .parquet; may be repeated.", metavar="FILE"),
    ] = None,
    other_level: Annotated[
        bool | None, typer.Option("--other-level", help="Compare with labels of another level of theory.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Predictions: .csv .parquet .json .xyz; - is CSV on standard output.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Figure: predictions against labels, or, of Hamiltonians, excess energies.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many rows; of texts as many, evenly spread.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Molecules at once. [default: 64; texts 256]")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the geometries of SMILES, or of a draw. [default: 0]")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Of a language model: so many texts are drawn. [default: 1000]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> int:
    """Predict with a trained network: errors on a corpus, or values for molecules.

    Geometries in files are used as given, SMILES are embedded. A language model is compared with itself in 16 bit and
    in FP8, on the molecules its training held out, or on those of --molecules that it would have.
    """
    given = dict(locals())
    from qmgen.config import resolve
    from qmgen.config.train import EvaluateConfig
    from qmgen.errors import UsageError

    settings = resolve(EvaluateConfig, None, {name: given[name] for name in EvaluateConfig.model_fields})
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


def _language_model(settings: Any, as_json: bool, quiet: bool) -> int:
    """A network of ``qmgen train lm`` or ``quantize``: FP8 against 16 bit."""
    from qmgen.errors import UsageError

    for name in ("data", "out", "figure", "other_level"):
        if getattr(settings, name):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for networks that predict; a language model takes --molecules FILE.smi")

    from qmgen.learning.lm.use.evaluate import evaluate as work
    from qmgen.learning.lm.use.evaluate import text

    report = work(settings, (lambda line: None) if quiet else (lambda line: say(f"qmgen: {line}")))
    if as_json:
        print_json(report)
    else:
        say(text(report))
    return 0


def _hamiltonian(settings: Any, as_json: bool, quiet: bool) -> int:
    """A network of ``qmgen train energy`` or ``labels``: against converged fields."""
    from contextlib import nullcontext

    from qmgen.learning.energy.evaluate import TARGETS, evaluate_hamiltonian, text
    from qmgen.learning.evaluate.run import teller
    from qmgen.learning.evaluate.write import Writer
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
