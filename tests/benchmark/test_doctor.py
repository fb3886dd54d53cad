"""What doctor says of this machine, and of one with a fault."""

from __future__ import annotations

import json

import pytest

from qmgen import doctor, machine


@pytest.fixture(scope="module")
def findings():
    return doctor.report()


def test_every_check_has_a_verdict_and_a_hint_when_it_fails(findings):
    json.dumps(findings, allow_nan=False)
    assert {"ok", "versions", "machine", "devices", "cache", "checks"} == findings.keys()
    assert {"python", "qmgen", "jax", "jaxlib", "numpy", "pyscf", "rdkit", "pyarrow"} <= findings["versions"].keys()
    assert {"directory", "bytes", "writable"} <= findings["cache"].keys()
    for check in findings["checks"]:
        assert check.keys() == {"name", "ok", "found", "hint"}
        assert bool(check["hint"]) != check["ok"]
        assert check["found"] and "\n" not in check["found"]


def test_float64_and_devices_work_here(findings):
    verdicts = {check["name"]: check["ok"] for check in findings["checks"]}
    assert verdicts["float64"] and verdicts["devices"] and verdicts["packages"]
    assert findings["devices"]


def test_a_missing_package_and_a_closed_cache_are_found(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(blocked / "cache"))
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(doctor, "_self_test", lambda: "not run")
    monkeypatch.setenv("QMGEN_CONFORMER", "3")
    found = doctor.report()
    failed = {check["name"]: check for check in found["checks"] if not check["ok"]}
    assert not found["ok"]
    assert "no-such-package" in failed["packages"]["found"]
    assert "cannot be written" in failed["cache"]["found"]
    assert "did you mean QMGEN_CONFORMERS?" in failed["variables"]["found"]
    text = "\n".join(doctor.lines(found))
    assert "FAIL" in text and "QMGEN_CACHE" in text


def test_a_share_of_the_cores_is_no_fault_and_less_than_one_is(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(machine, "cpu_limit", lambda: 1.5)
    assert doctor._cores() == "4 visible, 1.5 cores' worth of time granted: 2 worker(s) by default"
    monkeypatch.setattr(machine, "cpu_limit", lambda: 0.5)
    with pytest.raises(doctor._Broken, match=r"0\.5 of a core"):
        doctor._cores()
