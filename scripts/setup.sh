# Makes .venv from the hash-locked pins; does nothing where it is up to date. Sourced by the scripts
# in the root folder. Needs Python 3.11 or newer and a package index; brings uv if it is missing.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "vitnas needs Python 3.11 or newer; $python is $("$python" --version 2>&1)" >&2
    exit 2
}
[ ! -x .uv/bin/uv ] || PATH="$PWD/.uv/bin:$PATH"  # tests make environments with it, too
want=$("$python" - <<'EOF'
import hashlib, pathlib, sys
names = ("requirements.lock", "pyproject.toml", "scripts/setup.sh")
print(sys.version, hashlib.sha256(b"".join(pathlib.Path(n).read_bytes() for n in names)).hexdigest())
EOF
)
if [ "$(cat .venv/.vitnas 2>/dev/null)" != "$want" ]; then
    echo "Setting up .venv (about 6 GB with the default torch) ..." >&2
    command -v uv >/dev/null 2>&1 || {
        "$python" -m venv .uv
        .uv/bin/python -m pip install --quiet --require-hashes -r requirements-uv.lock
        PATH="$PWD/.uv/bin:$PATH"
    }
    uv venv --quiet --clear --python "$python" .venv
    # Every process would compile what it imports anew where PYTHONDONTWRITEBYTECODE is set.
    uv pip sync --compile-bytecode --quiet --require-hashes --python .venv requirements.lock
    uv pip install --quiet --python .venv --no-deps --no-build-isolation -e .
    printf '%s' "$want" >.venv/.vitnas
fi
# Threads that spin while they wait slow small models down many times over on a busy machine.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
