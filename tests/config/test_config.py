"""Layers, bounds, and messages of the configuration."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from qmgen.config import BenchConfig, CommandConfig, GenerateConfig, ValidateConfig, resolve
from qmgen.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


MINIMAL = 'molecules = ["a.smi"]\nout = "corpus"\n'


def test_defaults_then_file_then_environment_then_flags(tmp_path: Path) -> None:
    file = write(tmp_path, MINIMAL + "seed = 1\nconformers = 2\nmax_cycles = 30\n")
    environment = {"QMGEN_CONFORMERS": "3", "QMGEN_MAX_CYCLES": "31"}
    found = resolve(GenerateConfig, file, {"max_cycles": 32, "seed": None, "molecules": []}, environment)
    assert (found.xc, found.seed, found.conformers, found.max_cycles) == ("b3lyp5", 1, 3, 32)


def test_paths_in_a_file_are_relative_to_the_file_and_others_to_the_shell(tmp_path: Path) -> None:
    file = write(tmp_path, 'molecules = ["a.smi", "../b.smi", "-"]\nout = "corpus"\n')
    found = resolve(GenerateConfig, file, {}, {})
    assert found.molecules == [str(tmp_path / "a.smi"), str(tmp_path.parent / "b.smi"), "-"]
    assert found.out == tmp_path / "corpus"
    assert resolve(GenerateConfig, file, {"out": Path("here")}, {}).out == Path("here")
    assert resolve(GenerateConfig, file, {}, {"QMGEN_OUT": "there"}).out == Path("there")


def test_the_environment_is_text_and_becomes_what_the_setting_needs() -> None:
    environment = {
        "QMGEN_MOLECULES": os.pathsep.join(["a.smi", "b.smi"]),
        "QMGEN_OUT": "x",
        "QMGEN_TIME_LIMIT": "90",
        "QMGEN_XC": "PBE0",
        "QMGEN_SEED": "",
        "QMGEN_CACHE": "not a setting",
    }
    found = resolve(GenerateConfig, None, {}, environment)
    assert (found.molecules, found.time_limit, found.xc, found.seed) == (["a.smi", "b.smi"], 90.0, "pbe0", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conformer = 2", "there is no setting 'conformer'; did you mean 'conformers'?"),
        ("zzz = 2", "there is no setting 'zzz'; there are: xc, basis,"),
        ('conformers = "5"', "conformers = '5' in {file}: should be a valid integer"),
        ("conformers = 1.5", "conformers = 1.5 in {file}: should be a valid integer"),
        ("conformers = true", "conformers = True in {file}: should be a valid integer"),
        ("conformers = 0", "conformers = 0 in {file}: should be greater than or equal to 1"),
        ("grid_level = 6", "grid_level = 6 in {file}: should be less than or equal to 5"),
        ("seed = -1", "seed = -1 in {file}"),
        ("conv_energy = 0.0", "conv_energy = 0.0 in {file}: should be greater than 0"),
        ("conv_energy = nan", "conv_energy = nan in {file}"),
        (
            'guess = "magic"',
            "/magic' in {file}: should be atoms, core, or a run of `qmgen train energy` that exists",
        ),
        ("validation_fraction = 0.5\ntest_fraction = 0.5", "must be below 1"),
        ("x == 1", "{file} is not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, MINIMAL + text + "\n")
    with pytest.raises(UsageError) as caught:
        resolve(GenerateConfig, file, {}, {})
    assert message.format(file=file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_mistake_has_a_line_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path, MINIMAL + "conformers = 0\ngrid_level = 6\n")
    with pytest.raises(UsageError) as caught:
        resolve(GenerateConfig, file, {}, {})
    assert len(str(caught.value).splitlines()) == 2


def test_mistakes_name_the_variable_or_the_flag() -> None:
    with pytest.raises(
        UsageError, match="seed = 'abc' in the environment variable QMGEN_SEED: should be a valid integer"
    ):
        resolve(GenerateConfig, None, {}, {"QMGEN_SEED": "abc"})
    with pytest.raises(UsageError, match="max_failures = -1 given as --max-failures"):
        resolve(GenerateConfig, None, {"molecules": ["a"], "out": Path("x"), "max_failures": -1}, {})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such config file"):
        resolve(GenerateConfig, tmp_path / "none.toml", {}, {})
    with pytest.raises(UsageError, match="cannot read the config file"):
        resolve(GenerateConfig, tmp_path, {}, {})
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        resolve(GenerateConfig, tmp_path / "latin.toml", {}, {})


def test_the_resolved_file_reads_back_as_the_same_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = GenerateConfig(molecules=['in/a "b".smi', "-"], out=Path("out"), smiles_column="é\t", limit=3)
    text = config.resolved_toml(Path("out"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.toml").write_text(text)
    assert resolve(GenerateConfig, Path("out/config.toml"), {}, {}) == config
    assert tomllib.loads(text)["conv_energy"] == 1e-9
    assert "# workers is not set" in text


def test_the_row_fields_are_all_but_place_speed_and_paperwork() -> None:
    config = GenerateConfig(molecules=["a.smi"], out=Path("out"))
    assert set(config.row_fields()) == {
        "xc", "basis", "grid_level", "smiles_column", "conformers", "seed", "precision", "guess", "conv_energy",
        "conv_gradient", "max_cycles", "batch_size", "embed_time_limit", "units", "validation_fraction",
        "test_fraction",
    }  # fmt: skip
    assert GenerateConfig.outside_rows <= set(GenerateConfig.model_fields)
    assert set(GenerateConfig.later) <= set(GenerateConfig.model_fields)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"relax": "mmff"}, {"relax"}),
        ({"relax": "mmff", "relax_steps": 50}, {"relax", "relax_steps"}),
        ({"relax_steps": 50, "max_stereo_isomers": 2}, set()),  # of no effect without relax and stereo
        ({"prune_rms": 0.5, "energy_window": 3.0}, {"prune_rms", "energy_window"}),
        ({"stereo": "enumerate", "max_stereo_isomers": 2}, {"stereo", "max_stereo_isomers"}),
        ({"embed": "qm1b", "conformers": 1, "seed": 1}, {"embed"}),
        ({"jk": "auto", "auxbasis": None, "cartesian": False}, set()),
        ({"jk": "df", "auxbasis": "def2-universal-jkfit"}, {"jk", "auxbasis"}),
        ({"jk": "exact", "cartesian": True}, {"jk", "cartesian"}),
    ],
)
def test_later_settings_are_row_fields_where_they_change_a_row(settings: dict[str, Any], more: set[str]) -> None:
    plain = GenerateConfig(molecules=["a.smi"], out=Path("out")).row_fields()
    found = GenerateConfig(molecules=["a.smi"], out=Path("out"), **settings).row_fields()
    assert set(found) - set(plain) == more
    assert all(found[name] == settings[name] for name in more)


def test_qm1b_brings_its_own_numbers_unless_others_are_given(tmp_path: Path) -> None:
    def numbers(flags: dict[str, Any], environment: dict[str, str], text: str = "") -> tuple[int, int]:
        found = resolve(GenerateConfig, write(tmp_path, MINIMAL + text), flags, environment)
        return found.conformers, found.seed

    assert numbers({}, {}) == (1, 0)
    assert numbers({"embed": "qm1b", "seed": None}, {}) == (1000, 43)
    assert numbers({"conformers": 3}, {}, 'embed = "qm1b"\n') == (3, 43)
    assert numbers({}, {"QMGEN_EMBED": "qm1b", "QMGEN_SEED": "5"}) == (1000, 5)
    assert numbers({"embed": "etkdg3"}, {}, 'embed = "qm1b"\n') == (1, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relax": "mmff", "prune_rms": 0.1}, "goes without relax, prune_rms: use 'etkdg3'"),
        ({"energy_window": 1.0}, "goes without energy_window"),
        ({"stereo": "enumerate"}, "goes without stereo"),
        ({"seed": 0}, "the same geometry of seed = 0: choose one from 1"),
        ({"seed": 2**31 - 1}, "the same geometry"),
    ],
)
def test_qm1b_is_refused_what_would_make_it_something_else(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(GenerateConfig, None, {"molecules": ["a"], "out": Path("x"), "embed": "qm1b", **settings}, {})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_conformers_of_all_isomers_share_one_number() -> None:
    GenerateConfig(molecules=["a"], out=Path("x"), conformers=2**26, stereo="enumerate")
    with pytest.raises(UsageError, match="conformers times max_stereo_isomers"):
        resolve(
            GenerateConfig,
            None,
            {"molecules": ["a"], "out": Path("x"), "conformers": 2**27, "stereo": "enumerate"},
            {},
        )


def test_python_users_may_leave_lists_and_paths_to_us() -> None:
    config = GenerateConfig(molecules="a.smi", out="corpus")
    assert (config.molecules, config.out) == (["a.smi"], Path("corpus"))


def test_the_other_commands() -> None:
    assert resolve(ValidateConfig, None, {"directory": Path("x")}, {}).sample == 50
    assert resolve(BenchConfig, None, {}, {}).molecules == []
    with pytest.raises(UsageError, match="no corpus directory"):
        resolve(ValidateConfig, None, {}, {})


def test_bench_takes_several_grid_levels(tmp_path: Path) -> None:
    assert resolve(BenchConfig, None, {}, {}).grid_levels == [0, 1, 3]
    file = write(tmp_path, "grid_levels = [3, 2]\n")
    assert resolve(BenchConfig, file, {"grid_levels": []}, {}).grid_levels == [3, 2]
    assert resolve(BenchConfig, file, {}, {"QMGEN_GRID_LEVELS": "0, 5"}).grid_levels == [0, 5]
    assert resolve(BenchConfig, file, {"grid_levels": [1]}, {"QMGEN_GRID_LEVELS": "0,5"}).grid_levels == [1]


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ([0, 1, 0], {}, "grid_levels = [0, 1, 0] given as --grid-level: level 0 is given more than once"),
        ([1, 6], {}, "grid_levels = 6 given as --grid-level: should be less than or equal to 5"),
        ([], {"QMGEN_GRID_LEVELS": "0,fine"}, "grid_levels = 'fine' in the environment variable QMGEN_GRID_LEVELS"),
        ([], {"QMGEN_GRID_LEVELS": "0,9"}, "should be less than or equal to 5"),
    ],
)
def test_a_mistake_in_the_grid_levels_is_one_line(flags: list[int], environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(BenchConfig, None, {"grid_levels": flags}, environment)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_grid_levels_in_a_file_are_a_list(tmp_path: Path) -> None:
    for text in ("grid_levels = 1", "grid_levels = []", "grid_levels = ['1']"):
        with pytest.raises(UsageError, match="grid_levels = "):
            resolve(BenchConfig, write(tmp_path, text + "\n"), {}, {})


@pytest.mark.parametrize(
    ("model", "without"),
    [
        (GenerateConfig, {"enumerate", "sample", "sample_parts"}),  # molecules come from one source
        (GenerateConfig, {"molecules", "keep"}),  # what is enumerated has no columns
        (ValidateConfig, set()),
        (BenchConfig, set()),
    ],
)
def test_every_setting_of_every_command_can_come_from_the_environment(
    model: type[CommandConfig], without: set[str]
) -> None:
    given = {"directory": "corpus", "out": "there", "molecules": "a.smi", "guess": "core", "precision": "float64"}
    given |= {"embed": "etkdg3", "relax": "mmff", "stereo": "enumerate", "jk": "df"}
    text = {key: given.get(key, "1") for key in model.model_fields if key not in without}
    text |= {key: "0.25" for key in text if key.endswith("_fraction")}
    text |= {key: "false" for key in text if key == "extend"}  # of a corpus that is overwritten
    found = resolve(model, None, {}, {f"QMGEN_{key.upper()}": value for key, value in text.items()})
    assert found.model_dump()["out"] == Path("there")
    assert all(getattr(found, key) is not None for key in text)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "no molecules: give --molecules FILE or --enumerate 9-11"),
        ({"molecules": ["a.smi"], "enumerate": "9"}, "not from both"),
        ({"molecules": ["a.smi"], "sample": 3}, "--sample and --sample-parts draw from an enumeration"),
        ({"enumerate": "many"}, "'many' is no number of heavy atoms"),
        ({"enumerate": "0-3"}, "no range of heavy atoms"),
    ],
)
def test_molecules_have_one_source(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(GenerateConfig, None, {"out": "x", **values}, {})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_source_of_higher_precedence_sets_the_other_aside(tmp_path: Path) -> None:
    file = write(tmp_path, 'enumerate = "9"\nsample_parts = "1/9"\n')
    found = resolve(GenerateConfig, file, {"out": "x", "molecules": ["a.smi"]}, {})
    assert found.molecules == ["a.smi"] and found.enumerate is None and found.sample_parts is None
    file = write(tmp_path, 'molecules = ["a.smi"]\n')
    found = resolve(GenerateConfig, file, {"out": "x"}, {"QMGEN_ENUMERATE": "3"})
    assert found.enumerate == "3" and not found.molecules


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.name)
def test_the_configurations_that_ship_are_valid(file: Path) -> None:
    resolve(GenerateConfig, file, {}, {})


def test_every_command_takes_its_folder_from_the_environment() -> None:
    for model in (ValidateConfig, BenchConfig):
        required = {"directory": Path("corpus")} if "directory" in model.model_fields else {}
        assert resolve(model, None, required, {"QMGEN_OUT": "elsewhere"}).out == Path("elsewhere")
