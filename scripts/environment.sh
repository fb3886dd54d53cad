# Sourced by scripts/quickstart and scripts/test: makes .venv with qmgen in it, or leaves it alone if it is up to date.
# usage: prepare_environment [EXTRA]   EXTRA is an extra of pyproject.toml, such as "test"
# Afterwards $python is the environment's interpreter. PYTHON=... chooses the interpreter to build it with.

# pip compiles every module it installs, most of them for nothing (--no-compile): the first import of each does it instead.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename -- "$0"): $*"
    exit 2
}

usable_python() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable_python "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or 3.12 with the venv module"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.12 python3.11 python3 python; do
        if usable_python "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "needs Python 3.11 or 3.12 with the venv module; install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# What an up-to-date environment was built from: place, interpreter, and the two files that say what goes in.
fingerprint() {
    printf '%s\n' "$root"
    "$python" -c 'import sys; print(sys.version)'
    cksum <"$root/pyproject.toml"
    cksum <"$root/constraints.txt"
}

# Runs pip with its output in a log; a dot every few seconds shows that it is alive.
install() {
    "$python" -m pip install --disable-pip-version-check --no-input --no-compile \
        -c "$root/constraints.txt" "$@" >>"$log" 2>&1 &
    pip_process=$!
    trap 'kill "$pip_process" 2>/dev/null; exit 130' INT TERM
    seconds=0
    while kill -0 "$pip_process" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        if [ $((seconds % 3)) -eq 0 ]; then printf '.' >&2; fi
    done
    trap - INT TERM
    if ! wait "$pip_process"; then
        say ''
        tail -n 15 "$log" >&2
        die "the installation failed (whole log: $log)"
    fi
}

prepare_environment() {
    extra=${1:-}
    venv=$root/.venv
    python=$venv/bin/python
    log=$venv/install.log
    stamp=$venv/qmgen-stamp${extra:+-$extra}

    if [ -e "$venv" ] && ! { usable_python "$python" && "$python" -m pip --version >/dev/null 2>&1; }; then
        [ -f "$venv/pyvenv.cfg" ] || die "$venv is not a virtual environment: move it away and try again"
        say "rebuilding .venv, which does not work any more"
        rm -rf -- "$venv"
    fi
    if [ ! -e "$venv" ]; then
        base=$(find_python) || exit 2
        say "making .venv with $("$base" --version 2>&1)"
        "$base" -m venv "$venv" || die "could not make $venv"
    fi
    if [ -f "$stamp" ] && [ "$(fingerprint)" = "$(cat "$stamp")" ]; then return; fi

    printf 'installing qmgen and what it needs into .venv (about a minute) ' >&2
    : >"$log"
    install 'setuptools>=77'
    install --no-build-isolation -e "$root${extra:+[$extra]}"
    say ' done'
    fingerprint >"$stamp"
}
